;; A guest whose calls let its memory grow, for the tests of isolation. "grows" takes a number of pages and answers with how
;; many words it found other than a call has to: the size, and zeros behind it. It leaves others there. "beyond" traps unless an
;; earlier call's memory is still there.
(module
  (import "host" "essa_get_args" (func $args (param i32 i32) (result i32)))
  (import "host" "essa_set_result" (func $result (param i32 i32) (result i32)))
  (memory (export "memory") 1 64)
  (data (i32.const 1000) "the data segment")
  (func (export "_initialize"))
  (func (export "grows") (param $n i32)
    (local $at i32) (local $wrong i32)
    (drop (call $args (i32.const 0) (local.get $n)))
    (if (i32.ne (memory.grow (i32.load (i32.const 0))) (i32.const 1))
      (then (local.set $wrong (i32.add (local.get $wrong) (i32.const 1)))))
    (if (i64.ne (i64.load (i32.const 1001)) (i64.const 0x2061746164206568)) ;; "he data "
      (then (local.set $wrong (i32.add (local.get $wrong) (i32.const 1)))))
    (i64.store (i32.const 1001) (i64.const -1))
    (local.set $at (i32.const 65536))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (i32.shl (memory.size) (i32.const 16))))
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
          (then (local.set $wrong (i32.add (local.get $wrong) (i32.const 1)))))
        (i64.store (local.get $at) (i64.const 0x5eed))
        (local.set $at (i32.add (local.get $at) (i32.const 1016)))
        (br $next)))
    (i32.store (i32.const 64) (local.get $wrong))
    (drop (call $result (i32.const 64) (i32.const 4))))
  (func (export "beyond") (param i32)
    (i32.store (i32.const 64) (i32.load (i32.const 65536)))
    (drop (call $result (i32.const 64) (i32.const 4)))))
