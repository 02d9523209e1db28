# An executor needs no scheduler in its process. Arithmetic is allowed, and numbers are bytes.
executor {
  memory  = 2 * 1024 * 1024 * 1024
  engines = ["second", "first"]
}
engine "first" {
  path   = "/opt/first"
  sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  settings {
    level  = 3
    nested = { "a.b" = [1, "two", true], ratio = 0.25 }
  }
  env = {
    PORT    = 8080
    DOLLARS = "$${not} 100%"
  }
}
engine "second" {}
