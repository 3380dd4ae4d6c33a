variable "agent_id" {
  type = string
}

resource "coder_script" "database" {
  agent_id     = var.agent_id
  display_name = "Database"
  run_on_start = true
  timeout      = 180
  script       = "cd app && ./scripts/database start && ./scripts/database wait"
}

resource "coder_script" "dump" {
  agent_id     = var.agent_id
  display_name = "Dump of the database"
  run_on_stop  = true
  script       = "cd app && ./scripts/database dump"
}

resource "coder_script" "shut_down" {
  agent_id     = var.agent_id
  display_name = "Stop the database"
  run_on_stop  = true
  script       = "cd app && ./scripts/database stop"
}

data "coder_script_order" "shutdown" {
  rule {
    run      = ["coder_script.shut_down"]
    after    = ["coder_script.dump"]
    requires = "completion"
  }
}
