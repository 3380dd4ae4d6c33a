variable "dir" {
  type = string
}

locals {
  once = local.again
  again = local.once
}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "coder_script" "a" {
  agent_id     = coder_agent.main.id
  display_name = "a"
  run_on_start = true
  script       = templatefile("a.sh", { dir = var.dir })
}

resource "coder_script" "b" {
  agent_id     = coder_agent.main.id
  display_name = "b"
  run_on_start = true
  script       = "cd ${var.dir} && make"
}

resource "coder_script" "c" {
  agent_id     = coder_agent.main.id
  display_name = "c"
  run_on_start = true
  script       = coder_agent.main.init_script
  count        = length([1, 2])
}

resource "coder_script" "d" {
  agent_id     = coder_agent.main.id
  display_name = "d"
  run_on_start = true
  script       = <<-EOT
    cd ${data.coder_workspace.me.name}
  EOT
}

resource "coder_script" "e" {
  agent_id     = data.coder_agent.main.id
  display_name = "e"
  run_on_start = true
  script       = local.once
}

module "git" {
  source = "registry.coder.com/coder/git-clone/coder"
}
