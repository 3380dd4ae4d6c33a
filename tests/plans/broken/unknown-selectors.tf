resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "coder_script" "clone" {
  agent_id     = coder_agent.main.id
  display_name = "clone"
  run_on_start = true
  script       = "true"
}

resource "coder_script" "work" {
  agent_id     = coder_agent.main.id
  display_name = "work"
  run_on_start = true
  script       = "true"
  count        = 2
}

data "coder_script_order" "startup" {
  rule {
    run   = ["coder_script.wrok"]
    after = ["coder_script.work[2]", "module.git", "coder_script.clone[\"a\"]"]
  }
  rule {
    run   = ["coder_script.work", "data.coder_script.x"]
    after = ["module.git.coder_script.clone", "module.git[0]"]
  }
}
