;; The conformance guest: an interpreter of small scripts that come with each request.
;;
;; The lines that begin with `;;@` are replaced when the guest is written (src/guest): by the imports, by one branch for
;; each function of the ABI, and by what a variant does at start-up. The numbers of operations and the report's format
;; are in src/script as well.
;;
;; Memory, 48 pages, so that it ends at 0x300000:
;;   0x000000  texts and single words        0x0a0000  the report of the running phase
;;   0x001000  a script as received, in hex  0x0c0000  the report in hex
;;   0x011000  the running script            0x100000  free for scripts
;;   0x020000  64 slots of 8 KiB: scripts for handle_response, each under its request's req_ctx
;;
;; Only instructions of WebAssembly 1.0 are used, so that every host's runtime supports it.
(module
  ;;@imports

  (memory (export "memory") 48)
  (data (i32.const 0x00) "x-tck-script")
  (data (i32.const 0x10) "x-tck-script-r")
  (data (i32.const 0x20) "x-tck-report")
  (data (i32.const 0x30) "x-tck-report-r")
  (data (i32.const 0x50) "0123456789abcdef")
  (data (i32.const 0x60) "tck: started")
  (data (i32.const 0x70) "/")

  ;; 0x100: set while a script runs. If it is set at the next entry, this instance has trapped before.
  ;; 0x200: the operands of the running operation. 0x300: 16 registers of 64 bits. 0x400: what start-up found out.

  (global $pc (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))
  (global $last (mut i64) (i64.const 0))
  (global $report (mut i32) (i32.const 0))
  (global $next (mut i32) (i32.const 1))
  (global $ctx (mut i32) (i32.const 0))
  (global $requests (mut i32) (i32.const 0x1000))
  (global $dirty (mut i32) (i32.const 0))
  (global $as_it_comes (mut i32) (i32.const 0))

  ;;@boot

  (func $enter
    ;; Kept: the runner's own requests may come in between.
    (global.set $dirty (i32.or (global.get $dirty) (i32.load (i32.const 0x100))))
    (i32.store (i32.const 0x100) (i32.const 1))
    (global.set $report (i32.const 0xa0000))
    (global.set $last (i64.const 0)))

  (func $leave
    (i32.store (i32.const 0x100) (i32.const 0)))

  (func (export "handle_request") (result i64)
    (local $slot i32)
    (call $enter)
    (global.set $requests (i32.add (global.get $requests) (i32.const 1)))
    (global.set $next (i32.const 1))
    (global.set $ctx (global.get $requests))
    (local.set $slot (call $free_slot))
    (i32.store offset=8 (local.get $slot)
      (call $script (i32.const 0x10) (i32.const 14) (i32.add (local.get $slot) (i32.const 16)) (i32.const 8176)))
    (call $run (i32.const 0x11000)
      (call $script (i32.const 0x00) (i32.const 12) (i32.const 0x11000) (i32.const 32768)))
    (if (global.get $next)
      (then
        (i32.store offset=4 (local.get $slot) (global.get $ctx))
        (i32.store (local.get $slot) (i32.const 1))))
    (call $leave)
    (i64.or
      (i64.shl (i64.extend_i32_u (global.get $ctx)) (i64.const 32))
      (i64.extend_i32_u (global.get $next))))

  ;;@handle_response-begin
  (func (export "handle_response") (param $req_ctx i32) (param $is_error i32)
    (local $slot i32) (local $len i32)
    (call $enter)
    (local.set $slot (call $find_slot (local.get $req_ctx)))
    (local.set $len (i32.load offset=8 (local.get $slot)))
    (call $copy (i32.const 0x11000) (i32.add (local.get $slot) (i32.const 16)) (local.get $len))
    (i32.store (local.get $slot) (i32.const 0))
    (if (i32.eqz (local.get $is_error))
      (then (call $run (i32.const 0x11000) (local.get $len))))
    (call $leave))
  ;;@handle_response-end

  ;; A slot: used, req_ctx, length, unused, bytes. If all are used, a request was abandoned, and the oldest is replaced.
  (func $free_slot (result i32)
    (local $slot i32)
    (local.set $slot (i32.const 0x20000))
    (loop $more
      (if (i32.eqz (i32.load (local.get $slot))) (then (return (local.get $slot))))
      (local.set $slot (i32.add (local.get $slot) (i32.const 0x2000)))
      (br_if $more (i32.lt_u (local.get $slot) (i32.const 0xa0000))))
    (i32.add (i32.const 0x20000)
      (i32.shl (i32.and (global.get $requests) (i32.const 63)) (i32.const 13))))

  ;; Traps when no request of this instance has this req_ctx.
  (func $find_slot (param $ctx i32) (result i32)
    (local $slot i32)
    (local.set $slot (i32.const 0x20000))
    (loop $more
      (if (i32.and
            (i32.eq (i32.load (local.get $slot)) (i32.const 1))
            (i32.eq (i32.load offset=4 (local.get $slot)) (local.get $ctx)))
        (then (return (local.get $slot))))
      (local.set $slot (i32.add (local.get $slot) (i32.const 0x2000)))
      (br_if $more (i32.lt_u (local.get $slot) (i32.const 0xa0000))))
    (unreachable))

  ;; Decodes the script in this request header to `to`; returns its length, 0 if there is none.
  (func $script (param $name i32) (param $name_len i32) (param $to i32) (param $room i32) (result i32)
    (local $len i32) (local $i i32)
    (local.set $len
      (i32.wrap_i64
        (call $get_header_values
          (i32.const 0) (local.get $name) (local.get $name_len) (i32.const 0x1000) (i32.const 0x10000))))
    (local.set $len (i32.shr_u (local.get $len) (i32.const 1)))
    (if (i32.gt_u (local.get $len) (local.get $room)) (then (unreachable)))
    (if (i32.eqz (local.get $len)) (then (return (i32.const 0))))
    (loop $more
      (i32.store8 (i32.add (local.get $to) (local.get $i))
        (i32.or
          (i32.shl
            (call $digit (i32.load8_u offset=0x1000 (i32.shl (local.get $i) (i32.const 1))))
            (i32.const 4))
          (call $digit (i32.load8_u offset=0x1001 (i32.shl (local.get $i) (i32.const 1))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (local.get $len))))
    (local.get $len))

  (func $digit (param $c i32) (result i32)
    (if (result i32) (i32.ge_u (local.get $c) (i32.const 97))
      (then (i32.sub (local.get $c) (i32.const 87)))
      (else (i32.sub (local.get $c) (i32.const 48)))))

  (func $copy (param $to i32) (param $from i32) (param $len i32)
    (local $i i32)
    (if (i32.eqz (local.get $len)) (then (return)))
    (loop $more
      (i32.store8 (i32.add (local.get $to) (local.get $i))
        (i32.load8_u (i32.add (local.get $from) (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (local.get $len)))))

  ;; Operands: 0 a 32-bit number, 1 an 8-bit number, 2 a string (two operands: its address and its length),
  ;; 3 and 4 the low and high half of the last result, 5 the low half of a register.
  (func $operands (param $count i32)
    (local $i i32) (local $tag i32)
    (loop $more
      (if (i32.ge_u (local.get $i) (local.get $count)) (then (return)))
      (local.set $tag (call $byte))
      (block $done
        (if (i32.eq (local.get $tag) (i32.const 0)) (then
          (call $operand (local.get $i) (i32.load (global.get $pc)))
          (global.set $pc (i32.add (global.get $pc) (i32.const 4)))
          (br $done)))
        (if (i32.eq (local.get $tag) (i32.const 1)) (then
          (call $operand (local.get $i) (call $byte))
          (br $done)))
        (if (i32.eq (local.get $tag) (i32.const 2)) (then
          (call $operand (local.get $i) (i32.add (global.get $pc) (i32.const 2)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (call $operand (local.get $i) (i32.load16_u (global.get $pc)))
          (global.set $pc
            (i32.add (global.get $pc) (i32.add (i32.const 2) (i32.load16_u (global.get $pc)))))
          (br $done)))
        (if (i32.eq (local.get $tag) (i32.const 3)) (then
          (call $operand (local.get $i) (i32.wrap_i64 (global.get $last)))
          (br $done)))
        (if (i32.eq (local.get $tag) (i32.const 4)) (then
          (call $operand (local.get $i)
            (i32.wrap_i64 (i64.shr_u (global.get $last) (i64.const 32))))
          (br $done)))
        (if (i32.eq (local.get $tag) (i32.const 5)) (then
          (call $operand (local.get $i) (i32.load offset=0x300 (i32.shl (call $byte) (i32.const 3))))
          (br $done)))
        (unreachable))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $more)))

  (func $byte (result i32)
    (global.set $pc (i32.add (global.get $pc) (i32.const 1)))
    (i32.load8_u (i32.sub (global.get $pc) (i32.const 1))))

  (func $operand (param $i i32) (param $value i32)
    (i32.store offset=0x200 (i32.shl (local.get $i) (i32.const 2)) (local.get $value)))

  (func $arg (param $i i32) (result i32)
    (i32.load offset=0x200 (i32.shl (local.get $i) (i32.const 2))))

  (func $run (param $from i32) (param $len i32)
    (local $op i32) (local $i i32)
    (global.set $pc (local.get $from))
    (global.set $end (i32.add (local.get $from) (local.get $len)))
    (loop $continue
      (if (i32.ge_u (global.get $pc) (global.get $end)) (then (return)))
      (local.set $op (call $byte))

      ;;@calls

      ;; Report the last result.
      (if (i32.eq (local.get $op) (i32.const 64)) (then
        (call $report_head (i32.const 86))
        (i64.store (global.get $report) (global.get $last))
        (global.set $report (i32.add (global.get $report) (i32.const 8)))
        (br $continue)))

      ;; Report memory: offset, length.
      (if (i32.eq (local.get $op) (i32.const 65)) (then
        (call $operands (i32.const 2))
        (call $report_head (i32.const 77))
        (i32.store (global.get $report) (call $arg (i32.const 1)))
        (global.set $report (i32.add (global.get $report) (i32.const 4)))
        (call $copy (global.get $report) (call $arg (i32.const 0)) (call $arg (i32.const 1)))
        (global.set $report (i32.add (global.get $report) (call $arg (i32.const 1))))
        (br $continue)))

      ;; Trap unless the last result is these 64 bits.
      (if (i32.eq (local.get $op) (i32.const 66)) (then
        (if (i64.ne (global.get $last) (i64.load (global.get $pc))) (then (unreachable)))
        (global.set $pc (i32.add (global.get $pc) (i32.const 8)))
        (br $continue)))

      ;; Trap unless memory equals this string: offset, string.
      (if (i32.eq (local.get $op) (i32.const 67)) (then
        (call $operands (i32.const 3))
        (local.set $i (i32.const 0))
        (block $same
          (loop $more
            (br_if $same (i32.ge_u (local.get $i) (call $arg (i32.const 2))))
            (if (i32.ne
                  (i32.load8_u (i32.add (call $arg (i32.const 0)) (local.get $i)))
                  (i32.load8_u (i32.add (call $arg (i32.const 1)) (local.get $i))))
              (then (unreachable)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $more)))
        (br $continue)))

      ;; Fill memory: offset, byte, length.
      (if (i32.eq (local.get $op) (i32.const 68)) (then
        (call $operands (i32.const 3))
        (local.set $i (i32.const 0))
        (block $filled
          (loop $more
            (br_if $filled (i32.ge_u (local.get $i) (call $arg (i32.const 2))))
            (i32.store8 (i32.add (call $arg (i32.const 0)) (local.get $i)) (call $arg (i32.const 1)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $more)))
        (br $continue)))

      ;; Fill memory with the pattern that bodies are made of: offset, length.
      (if (i32.eq (local.get $op) (i32.const 69)) (then
        (call $operands (i32.const 2))
        (local.set $i (i32.const 0))
        (block $filled
          (loop $more
            (br_if $filled (i32.ge_u (local.get $i) (call $arg (i32.const 1))))
            (i32.store8 (i32.add (call $arg (i32.const 0)) (local.get $i))
              (i32.add
                (i32.mul (local.get $i) (i32.const 167))
                (i32.shr_u (local.get $i) (i32.const 8))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $more)))
        (br $continue)))

      ;; Read a body to its end: kind, buf, buf_limit, and 0, 1 for the kind that gets a copy or 255 for none.
      (if (i32.eq (local.get $op) (i32.const 70)) (then
        (call $operands (i32.const 4))
        (global.set $as_it_comes (i32.const 0))
        (call $read_all)
        (br $continue)))

      ;; The same, from a host that streams: reads return what is there.
      (if (i32.eq (local.get $op) (i32.const 85)) (then
        (call $operands (i32.const 4))
        (global.set $as_it_comes (i32.const 1))
        (call $read_all)
        (br $continue)))

      ;; What handle_request returns: next, req_ctx.
      (if (i32.eq (local.get $op) (i32.const 71)) (then
        (call $operands (i32.const 2))
        (global.set $next (call $arg (i32.const 0)))
        (global.set $ctx (call $arg (i32.const 1)))
        (br $continue)))

      ;; Trap.
      (if (i32.eq (local.get $op) (i32.const 72)) (then (unreachable)))

      ;; Deliver the report: 0 in a request header, 1 in a response header, 2 in the response phase's own one.
      (if (i32.eq (local.get $op) (i32.const 73)) (then
        (call $operands (i32.const 1))
        (call $deliver (call $arg (i32.const 0)))
        (br $continue)))

      ;; Keep the last result in a register.
      (if (i32.eq (local.get $op) (i32.const 74)) (then
        (call $operands (i32.const 1))
        (i64.store offset=0x300 (i32.shl (call $arg (i32.const 0)) (i32.const 3)) (global.get $last))
        (br $continue)))

      ;; Whether this instance has trapped before.
      (if (i32.eq (local.get $op) (i32.const 75)) (then
        (global.set $last (i64.extend_i32_u (global.get $dirty)))
        (br $continue)))

      ;; Compute forever.
      (if (i32.eq (local.get $op) (i32.const 76)) (then (loop $ever (br $ever))))

      ;; Add a number to the low half of the last result.
      (if (i32.eq (local.get $op) (i32.const 77)) (then
        (call $operands (i32.const 1))
        (global.set $last
          (i64.extend_i32_u (i32.add (i32.wrap_i64 (global.get $last)) (call $arg (i32.const 0)))))
        (br $continue)))

      ;; Whether the last result is that in a register.
      (if (i32.eq (local.get $op) (i32.const 78)) (then
        (call $operands (i32.const 1))
        (global.set $last
          (i64.extend_i32_u
            (i64.eq (global.get $last)
              (i64.load offset=0x300 (i32.shl (call $arg (i32.const 0)) (i32.const 3))))))
        (br $continue)))

      ;; Grow the memory by pages.
      (if (i32.eq (local.get $op) (i32.const 79)) (then
        (call $operands (i32.const 1))
        (global.set $last (i64.extend_i32_u (memory.grow (call $arg (i32.const 0)))))
        (br $continue)))

      ;; Load 32 bits: offset.
      (if (i32.eq (local.get $op) (i32.const 80)) (then
        (call $operands (i32.const 1))
        (global.set $last (i64.extend_i32_u (i32.load (call $arg (i32.const 0)))))
        (br $continue)))

      ;; Store 32 bits: offset, value.
      (if (i32.eq (local.get $op) (i32.const 81)) (then
        (call $operands (i32.const 2))
        (i32.store (call $arg (i32.const 0)) (call $arg (i32.const 1)))
        (br $continue)))

      ;; Negate the low half of the last result.
      (if (i32.eq (local.get $op) (i32.const 83)) (then
        (global.set $last
          (i64.extend_i32_u (i32.sub (i32.const 0) (i32.wrap_i64 (global.get $last)))))
        (br $continue)))

      ;; The capabilities: all of them.
      (if (i32.eq (local.get $op) (i32.const 84)) (then
        (global.set $last (i64.const 31))
        (br $continue)))

      ;; Overflow the stack.
      (if (i32.eq (local.get $op) (i32.const 82)) (then
        (global.set $last (i64.extend_i32_u (call $deeper (i32.const 0))))
        (br $continue)))

      (unreachable)))

  (func $deeper (param $depth i32) (result i32)
    (i32.add (call $deeper (i32.add (local.get $depth) (i32.const 1))) (i32.const 1)))

  ;; The hash (FNV-1a, 32 bits) of the body in the high half of the last result, its length in the low half. If
  ;; read_body breaks a rule, the high half is 0xbad00000, and the low half says which one.
  (func $read_all
    (local $read i64) (local $len i32) (local $total i32) (local $i i32) (local $hash i32) (local $reads i32)
    (local.set $hash (i32.const 0x811c9dc5))
    (loop $more
      (local.set $read
        (call $read_body (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))
      (local.set $len (i32.wrap_i64 (local.get $read)))
      (local.set $reads (i32.add (local.get $reads) (i32.const 1)))
      ;; More than there is room for.
      (if (i32.gt_u (local.get $len) (call $arg (i32.const 2)))
        (then (global.set $last (i64.const 0xbad0000000000001)) (return)))
      ;; Neither full, or as far as it has come, nor at the end.
      (if (i32.and
            (i32.lt_u (local.get $len)
              (select (i32.const 1) (call $arg (i32.const 2)) (global.get $as_it_comes)))
            (i64.ne (i64.shr_u (local.get $read) (i64.const 32)) (i64.const 1)))
        (then (global.set $last (i64.const 0xbad0000000000002)) (return)))
      ;; An EOF flag that is neither 0 nor 1.
      (if (i64.gt_u (i64.shr_u (local.get $read) (i64.const 32)) (i64.const 1))
        (then (global.set $last (i64.const 0xbad0000000000003)) (return)))
      ;; No end.
      (if (i32.gt_u (local.get $reads) (i32.const 200000))
        (then (global.set $last (i64.const 0xbad0000000000004)) (return)))
      (local.set $i (i32.const 0))
      (block $hashed
        (loop $next_byte
          (br_if $hashed (i32.ge_u (local.get $i) (local.get $len)))
          (local.set $hash
            (i32.mul
              (i32.xor (local.get $hash)
                (i32.load8_u (i32.add (call $arg (i32.const 1)) (local.get $i))))
              (i32.const 0x01000193)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next_byte)))
      (local.set $total (i32.add (local.get $total) (local.get $len)))
      (if (i32.lt_u (call $arg (i32.const 3)) (i32.const 2))
        (then (call $write_body (call $arg (i32.const 3)) (call $arg (i32.const 1)) (local.get $len))))
      (br_if $more (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))
    (global.set $last
      (i64.or
        (i64.shl (i64.extend_i32_u (local.get $hash)) (i64.const 32))
        (i64.extend_i32_u (local.get $total)))))

  (func $report_head (param $tag i32)
    (i32.store8 (global.get $report) (local.get $tag))
    (global.set $report (i32.add (global.get $report) (i32.const 1))))

  (func $deliver (param $where i32)
    (local $from i32) (local $to i32)
    (local.set $from (i32.const 0xa0000))
    (local.set $to (i32.const 0xc0000))
    (block $encoded
      (loop $more
        (br_if $encoded (i32.ge_u (local.get $from) (global.get $report)))
        (i32.store8 (local.get $to)
          (i32.load8_u offset=0x50
            (i32.shr_u (i32.load8_u (local.get $from)) (i32.const 4))))
        (i32.store8 offset=1 (local.get $to)
          (i32.load8_u offset=0x50
            (i32.and (i32.load8_u (local.get $from)) (i32.const 15))))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))
        (br $more)))
    (call $set_header_value
      (i32.gt_u (local.get $where) (i32.const 0))
      (select (i32.const 0x30) (i32.const 0x20) (i32.eq (local.get $where) (i32.const 2)))
      (select (i32.const 14) (i32.const 12) (i32.eq (local.get $where) (i32.const 2)))
      (i32.const 0xc0000)
      (i32.sub (local.get $to) (i32.const 0xc0000)))))
