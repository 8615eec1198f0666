;; A guest as heavy as a WAF with its rules: large memory, a long start-up, and milliseconds of computing per request.
;;
;; `bench/heavy` replaces the numbers of the globals. A request for a path that begins with /loop computes until it is
;; stopped.
(module
  (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))

  ;; 75 MiB. The first page is for the host's results and the table of the rounds.
  (memory (export "memory") 1200)

  (global $start_rounds i32 (i32.const 55000000))
  (global $request_rounds i32 (i32.const 690000))
  (global $random (mut i64) (i64.const 88172645463325252))
  ;; Requests that were forwarded and whose responses haven't arrived yet.
  (global $open (mut i32) (i32.const 0))

  ;; A round is a step of a random number generator, and a lookup in a table of 32 KiB.
  (func $compute (param $rounds i32)
    (local $x i64)
    (local.set $x (global.get $random))
    (block $end
      (loop $next
        (br_if $end (i32.eqz (local.get $rounds)))
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
        (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
        (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
        (local.set $x
          (i64.add (local.get $x)
            (i64.load offset=32768 (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0x7ff8)))))
        (br $next)))
    (global.set $random (local.get $x)))

  ;; Writes to each page.
  (func $touch
    (local $at i32)
    (loop $next
      (i64.store (local.get $at) (i64.add (global.get $random) (i64.extend_i32_u (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 78643200)))))

  (func (export "_initialize")
    (call $touch)
    (call $compute (global.get $start_rounds)))

  (func $is_loop (result i32)
    (if (i32.lt_u (call $get_uri (i32.const 0) (i32.const 64)) (i32.const 5)) (then (return (i32.const 0))))
    ;; "/loo" and "p"
    (i32.and
      (i32.eq (i32.load (i32.const 0)) (i32.const 0x6f6f6c2f))
      (i32.eq (i32.load8_u (i32.const 4)) (i32.const 0x70))))

  (func (export "handle_request") (result i64)
    (if (call $is_loop)
      (then (loop $forever (call $compute (i32.const 1000)) (br $forever))))
    (call $compute (global.get $request_rounds))
    (global.set $open (i32.add (global.get $open) (i32.const 1)))
    (i64.const 1))

  (func (export "handle_response") (param $req_ctx i32) (param $is_error i32)
    (global.set $open (i32.sub (global.get $open) (i32.const 1)))))
