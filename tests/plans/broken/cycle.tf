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

resource "coder_script" "b" {
  agent_id     = coder_agent.main.id
  display_name = "b"
  run_on_start = true
  script       = "true"
}

resource "coder_script" "c" {
  agent_id     = coder_agent.main.id
  display_name = "c"
  run_on_start = true
  script       = "true"
}

data "coder_script_order" "one" {
  rule {
    run   = ["coder_script.b"]
    after = ["coder_script.a"]
  }
  rule {
    run   = ["coder_script.c"]
    after = ["coder_script.b"]
  }
}

data "coder_script_order" "two" {
  rule {
    run   = ["coder_script.a"]
    after = ["coder_script.c"]
  }
  rule {
    run   = ["coder_script.a", "coder_script.b"]
    after = ["coder_script.a"]
  }
  rule {
    run      = ["coder_script.b"]
    after    = ["coder_script.a"]
    requires = "completion"
  }
}
