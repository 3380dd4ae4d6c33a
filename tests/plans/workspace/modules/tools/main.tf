variable "agent_id" {
  type = string
}

variable "origin" {
  type = string
}

variable "timeout" {
  type = number
}

resource "coder_script" "tool" {
  for_each     = toset(["python", "node"])
  agent_id     = var.agent_id
  display_name = "Install ${each.key}"
  run_on_start = true
  timeout      = var.timeout
  script       = "curl -fsSL ${var.origin}/${each.value}.sh | sh -s -- --prefix ~/.local"
}
