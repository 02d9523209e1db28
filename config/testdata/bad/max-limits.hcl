# What calls get without asking is no more than they may ask for.
executor {
  limits {
    fuel      = 2000000
    wall_time = "1m"
  }

  max_limits {
    memory     = "128MiB"
    wall_time  = "30s"
    call_depth = 1000
    host_calls = 5
    result     = -1
    fuel       = 1000000
    strikes    = 3
    handles    = 65535
    stack      = 1000000
  }
}

engine "wazero" {}
