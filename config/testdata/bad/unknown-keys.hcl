# Unknown keys are errors, with the nearest known name, or the place where the key belongs.
kvs {
  durabilty = "memory"
  max_valeu = "1MiB"
  attempts  = 3
  colour    = "blue"
}

shedular {}
banana = 1
routing {
  anything = true
}
