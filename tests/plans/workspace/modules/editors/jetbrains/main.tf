variable "agent_id" {
  type = string
}

resource "coder_script" "jetbrains" {
  agent_id     = var.agent_id
  display_name = "JetBrains"
  run_on_start = true
  script       = "~/.local/bin/jetbrains-backend warm-up app"
}
