resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "coder_script" "a" {
  agent_id     = coder_agent.main.id
  display_name = "a"
  run_on_start = "yes"
  script       = "true"
  timeuot      = 5
}

resource "coder_script" "b" {
  timeout = "5m"
}

data "coder_script_order" "startup" {
  rule {
    runs     = ["coder_script.a"]
    run      = ["coder_script.a"]
    after    = [1]
    requires = "completion"
  }
  rules {
  }
}

data "coder_script_order" "empty" {
}
