variable "agent_id" {
  type = string
}

resource "coder_script" "code_server" {
  agent_id     = var.agent_id
  display_name = "code-server"
  run_on_start = true
  script       = "code-server --install-extension example.shop"
}

module "jetbrains" {
  source   = "./jetbrains"
  agent_id = var.agent_id
}
