resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "coder_script" "up" {
  agent_id     = coder_agent.main.id
  display_name = "up"
  run_on_start = true
  script       = "true"
}

resource "coder_script" "down" {
  agent_id     = coder_agent.main.id
  display_name = "down"
  run_on_stop  = true
  script       = "true"
}

resource "coder_script" "both" {
  agent_id     = coder_agent.main.id
  display_name = "both"
  run_on_start = true
  script       = "true"
  run_on_stop  = true
}

resource "coder_script" "nightly" {
  agent_id     = coder_agent.main.id
  display_name = "nightly"
  cron         = "0 0 22 * * *"
  script       = "true"
}

data "coder_script_order" "startup" {
  rule {
    run   = ["coder_script.up"]
    after = ["coder_script.down"]
  }
  rule {
    run   = ["coder_script.up"]
    after = ["coder_script.both", "coder_script.nightly"]
  }
  rule {
    run   = ["coder_script.down"]
    after = ["coder_script.down"]
    phase = "start"
  }
  rule {
    run      = ["coder_script.up"]
    after    = []
    requires = "started"
    phase    = "end"
  }
}
