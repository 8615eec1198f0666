;; Reads each request's body to its end. A body that contains a NUL byte is answered with 400; any other is forwarded.
(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))

  (memory (export "memory") 2)
  ;; The buffer: 64 KiB from here.
  (global $buf i32 (i32.const 65536))

  ;; With buffer_request (1), the next handler gets the entire body.
  (func (export "_initialize") (drop (call $enable_features (i32.const 1))))

  (func $has_nul (param $len i32) (result i32)
    (local $at i32) (local $end i32) (local $eight i64)
    (local.set $at (global.get $buf))
    (local.set $end (i32.add (global.get $buf) (local.get $len)))
    ;; Eight bytes at a time: subtracting 1 from each sets the top bit of a zero byte, and of no other byte below 128.
    (block $tail
      (loop $next
        (br_if $tail (i32.gt_u (i32.add (local.get $at) (i32.const 8)) (local.get $end)))
        (local.set $eight (i64.load (local.get $at)))
        (if (i64.ne
              (i64.and
                (i64.and
                  (i64.sub (local.get $eight) (i64.const 0x0101010101010101))
                  (i64.xor (local.get $eight) (i64.const -1)))
                (i64.const 0x8080808080808080))
              (i64.const 0))
          (then (return (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $next)))
    (loop $next
      (if (i32.eq (local.get $at) (local.get $end)) (then (return (i32.const 0))))
      (if (i32.eqz (i32.load8_u (local.get $at))) (then (return (i32.const 1))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    unreachable)

  (func (export "handle_request") (result i64)
    (local $eof_len i64)
    (loop $again
      (local.set $eof_len (call $read_body (i32.const 0) (global.get $buf) (i32.const 65536)))
      (if (call $has_nul (i32.wrap_i64 (local.get $eof_len)))
        (then
          (call $set_status_code (i32.const 400))
          (return (i64.const 0))))
      (br_if $again (i64.eqz (i64.shr_u (local.get $eof_len) (i64.const 32)))))
    (i64.const 1))

  (func (export "handle_response") (param $req_ctx i32) (param $is_error i32)))
