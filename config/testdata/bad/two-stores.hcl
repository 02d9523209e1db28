# Which of two stores is meant cannot be guessed.
kvs {}
store "pebble" {}
store "other" {}
