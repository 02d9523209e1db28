# Values of the wrong type say how to write them.
node {
  name             = 12
  socket_mode      = 0660
  shutdown_timeout = 30
  data_dir         = ["a"]
}

kvs {
  shards       = "four"
  max_key      = "4 apples"
  memory       = -1
  write_buffer = 1.5
  cache_lease  = "30"
  durability   = sync
}

scheduler {
  call = 5
  completed {
    for = "soon"
  }
}

executor {
  engines  = "wazero"
  workers  = 2.5
  capacity = null
  cache {
    bytes = "1.0000001KiB"
  }
}

engine "wazero" {
  settings = "none"
  env = {
    PATH = ["/bin"]
  }
}
