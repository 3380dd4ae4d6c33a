resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "coder_script" "a" {
  agent_id     = coder_agent.main.id
  display_name = "a"
  run_on_start = true
  script       = "true"
}

resource "coder_script" "a" {
  agent_id     = coder_agent.main.id
  display_name = "a"
  run_on_start = true
  script       = "true"
}

module "self" {
  source = "./"
}

module "gone" {
  source = "./gone"
}
