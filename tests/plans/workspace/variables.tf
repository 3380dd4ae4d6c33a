variable "repository" {
  type    = string
  default = "shop"
}

variable "database" {
  type        = bool
  default     = true
  description = "Whether there is one here."
}

locals {
  origin  = "https://example.com"
  timeout = 600
}
