;; A run runs the export without a name.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func (export "") (call $exit (i32.const 3)))
  (func (export "exits") (param i32) (call $exit (i32.const 0)))
  (memory (export "memory") 1))
