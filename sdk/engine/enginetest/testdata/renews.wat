;; A guest with the hook that is called before each restored call. "seen" answers with how often that was.
(module
  (import "host" "essa_set_result" (func $result (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "__essa_restored") (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1))))
  (func (export "seen") (param i32) (drop (call $result (i32.const 8) (i32.const 4)))))
