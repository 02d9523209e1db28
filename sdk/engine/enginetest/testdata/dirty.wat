;; A guest that remembers, for the tests of isolation. "dirty" answers with a digest of all that it finds, then changes all
;; of it by its arguments: memory all over, a global of every type, the stack pointer. The digest is the same as long as no
;; call sees what another left. "dump" answers with its whole memory.
(module
  (import "host" "essa_get_args" (func $args (param i32 i32) (result i32)))
  (import "host" "essa_set_result" (func $result (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 5 40)
  (table 4 funcref)
  (elem (i32.const 0) $one $two $one $two)
  (type $answer (func (result i32)))
  (data (i32.const 1000) "the data segment")
  (data (i32.const 200000) "another one")
  (data (i32.const 1004) "DATA") ;; over the first
  (global $a (mut i32) (i32.const 11))
  (global $b (mut i64) (i64.const -22))
  (global $c (mut f32) (f32.const 1.5))
  (global $d (mut f64) (f64.const -2.25))
  (global $sp (export "sp") (mut i32) (i32.const 65536))
  (global $sum (mut i64) (i64.const 0))
  (func $one (result i32) (i32.const 1))
  (func $two (result i32) (i32.const 2))
  (func (export "_initialize")
    (global.set $a (i32.add (global.get $a) (i32.const 1)))
    (i32.store (i32.const 300000) (i32.const 0x5eed))
    (i64.store (i32.const 8) (i64.const 7)))

  (func $mix (param i64)
    (global.set $sum (i64.rotl
      (i64.mul (i64.xor (global.get $sum) (local.get 0)) (i64.const 0x9e3779b97f4a7c15))
      (i64.const 29))))

  ;; digest leaves a digest of memory and globals in $sum, having read every word above 64.
  (func $digest
    (local $p i32)
    (local $before i64)
    (local.set $before (global.get $sum))
    (global.set $sum (i64.const 0))
    (call $mix (local.get $before))
    (call $mix (i64.extend_i32_u (global.get $a)))
    (call $mix (global.get $b))
    (call $mix (i64.extend_i32_u (i32.reinterpret_f32 (global.get $c))))
    (call $mix (i64.reinterpret_f64 (global.get $d)))
    (call $mix (i64.extend_i32_u (global.get $sp)))
    (call $mix (i64.extend_i32_u (memory.size)))
    (call $mix (i64.extend_i32_u (call_indirect (type $answer) (i32.const 1))))
    (loop $next
      (call $mix (i64.load (local.get $p)))
      (br_if $next (i32.lt_u
        (local.tee $p (i32.add (local.get $p) (i32.const 8)))
        (i32.shl (memory.size) (i32.const 16))))))

  ;; dirty(args: u64 seed, u32 writes, u32 what else)
  (func (export "dirty") (param $n i32)
    (local $x i64) (local $i i32) (local $at i32)
    (call $digest)
    ;; The answer lies at 64 only now, when all was read.
    (i64.store (i32.const 64) (global.get $sum))
    (drop (call $result (i32.const 64) (i32.const 8)))
    (drop (call $args (i32.const 128) (local.get $n)))
    (local.set $x (i64.load (i32.const 128)))
    (local.set $i (i32.load (i32.const 136)))
    (local.set $at (i32.load (i32.const 140)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $i)))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (local.set $x (i64.add
          (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
        (i64.store
          (i32.rem_u (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const 33)))
            (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8)))
          (local.get $x))
        (br $next)))
    (global.set $a (i32.wrap_i64 (local.get $x)))
    (global.set $b (local.get $x))
    (global.set $c (f32.reinterpret_i32 (i32.wrap_i64 (local.get $x))))
    (global.set $d (f64.reinterpret_i64 (local.get $x)))
    (global.set $sp (i32.const 4))
    (if (i32.and (local.get $at) (i32.const 1)) (then (drop (memory.grow (i32.const 3)))))
    (if (i32.and (local.get $at) (i32.const 2)) (then (drop (call $close (i32.const 1)))))
    (if (i32.and (local.get $at) (i32.const 4)) (then (unreachable)))
    (if (i32.and (local.get $at) (i32.const 8)) (then (call $exit (i32.const 3))))
    (if (i32.and (local.get $at) (i32.const 16)) (then (loop $ever (br $ever)))))

  ;; dump answers with the whole memory, which it does not touch.
  (func (export "dump") (param i32)
    (drop (call $result (i32.const 0) (i32.shl (memory.size) (i32.const 16)))))

  ;; says tells whether standard output is open: its errno, by fd_write of nothing.
  (func (export "says") (param i32)
    (i32.store (i32.const 64) (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 72)))
    (drop (call $result (i32.const 64) (i32.const 4))))

  ;; counts answers with how often it was called in this instance, before this time.
  (func (export "counts") (param i32)
    (i32.store (i32.const 64) (i32.load (i32.const 400)))
    (drop (call $result (i32.const 64) (i32.const 4)))
    (i32.store (i32.const 400) (i32.add (i32.load (i32.const 400)) (i32.const 1))))

  ;; warm is called before the snapshot, badwarm must not be: it looks at state.
  (func (export "warm") (i32.store (i32.const 400) (i32.add (i32.load (i32.const 400)) (i32.const 100))))
  (func (export "warmtraps") (unreachable)))
