;; Grows a table until it may not, and tells how far it came.
(module
  (import "host" "essa_set_result" (func $set (param i32 i32) (result i32)))
  (table $t 1 funcref)
  (memory (export "memory") 1)
  (func (export "f") (param i32)
    (loop $more
      (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 4096)) (i32.const -1))))
    (i32.store (i32.const 0) (table.size $t))
    (drop (call $set (i32.const 0) (i32.const 4)))))
