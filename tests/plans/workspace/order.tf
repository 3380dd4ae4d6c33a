data "coder_script_order" "startup" {
  rule {
    run   = ["module.tools", "coder_script.dotfiles", "coder_script.clone"]
    after = ["coder_script.home"]
  }

  rule {
    run   = ["coder_script.install"]
    after = ["coder_script.clone", "module.tools"]
  }

  # Only what starts: the module stops the database as well.
  rule {
    run   = ["module.database"]
    after = ["coder_script.clone"]
    phase = "start"
  }

  rule {
    run   = ["coder_script.migrate"]
    after = ["module.database", "coder_script.install"]
    phase = "start"
  }
}

data "coder_script_order" "editors" {
  rule {
    run   = ["module.editors"]
    after = ["coder_script.install"]
  }

  rule {
    run      = ["module.editors"]
    after    = ["coder_script.dotfiles"]
    requires = "completion"
  }

  rule {
    run      = ["coder_script.report"]
    after    = ["module.editors", "coder_script.migrate"]
    requires = "completion"
  }
}
