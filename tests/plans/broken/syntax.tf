resource "coder_script" "a" {
  script = "x"
  timeout 5
}
