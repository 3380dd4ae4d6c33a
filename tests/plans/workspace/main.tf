terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = ">= 2.14"
    }
  }
}

data "coder_workspace" "me" {}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
  env = {
    GIT_AUTHOR_NAME = data.coder_workspace.me.name
  }
}

resource "coder_script" "home" {
  agent_id     = coder_agent.main.id
  display_name = "Folders in the home directory"
  run_on_start = true
  timeout      = 30
  script       = "mkdir -p ~/app ~/.cache ~/.local/bin"
}

resource "coder_script" "clone" {
  agent_id     = coder_agent.main.id
  display_name = "Clone ${var.repository}"
  icon         = "/icon/git.svg"
  run_on_start = true
  timeout      = local.timeout
  script       = "git clone ${local.origin}/${var.repository}.git app"
}

resource "coder_script" "dotfiles" {
  agent_id     = coder_agent.main.id
  display_name = "Dotfiles"
  run_on_start = true
  timeout      = local.timeout
  script       = <<-EOT
    #!/usr/bin/env bash
    git clone --depth 1 ${local.origin}/dotfiles.git "$${DOTFILES:-$HOME/.dotfiles}"
    ~/.dotfiles/install
  EOT
}

module "tools" {
  source   = "./modules/tools"
  agent_id = coder_agent.main.id
  origin   = local.origin
  timeout  = local.timeout
}

resource "coder_script" "install" {
  agent_id           = coder_agent.main.id
  display_name       = "Packages"
  run_on_start       = true
  start_blocks_login = true
  timeout            = local.timeout
  script             = "cd app && NODE_ENV=development npm ci"
}

module "database" {
  source   = "./modules/database"
  count    = var.database ? 1 : 0
  agent_id = coder_agent.main.id
}

resource "coder_script" "migrate" {
  agent_id     = coder_agent.main.id
  display_name = "Migrations"
  run_on_start = true
  timeout      = local.timeout
  script       = "cd app && ./scripts/migrate"
}

module "editors" {
  source   = "./modules/editors"
  agent_id = coder_agent.main.id
}

resource "coder_script" "report" {
  agent_id     = coder_agent.main.id
  display_name = "Report"
  run_on_start = true
  timeout      = local.timeout
  script       = "cd app && ./scripts/report"
}

resource "coder_script" "nightly" {
  agent_id     = coder_agent.main.id
  display_name = "Fetch"
  cron         = "0 0 3 * * *"
  script       = "cd app && git fetch --all"
}
