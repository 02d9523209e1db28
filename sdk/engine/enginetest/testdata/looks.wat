;; A guest whose initialisation looks at state: it must not be part of a snapshot. "found" answers with what it found.
(module
  (import "host" "essa_get_lattice_len" (func $len (param i32 i32 i32) (result i32)))
  (import "host" "essa_set_result" (func $result (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "key")
  (func (export "_initialize") (i32.store (i32.const 8) (call $len (i32.const 100) (i32.const 3) (i32.const 12))))
  (func (export "found") (param i32) (drop (call $result (i32.const 8) (i32.const 4)))))
