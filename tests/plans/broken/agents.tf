resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "coder_agent" "gpu" {
  os   = "linux"
  arch = "amd64"
}

resource "coder_script" "a" {
  agent_id     = coder_agent.main.id
  display_name = "a"
  run_on_start = true
  script       = "true"
}

resource "coder_script" "b" {
  agent_id     = coder_agent.gpu.id
  display_name = "b"
  run_on_start = true
  script       = "true"
}

data "coder_script_order" "startup" {
  rule {
    run   = ["coder_script.b"]
    after = ["coder_script.a"]
  }
}
