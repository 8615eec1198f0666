;; Accepts requests with the right bearer token, passes the user's name to the next handler, and redacts a field in JSON
;; responses. The configuration is one line: the token, the user, and the name of the field.
(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (import "http_handler" "get_header_values" (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "remove_header" (func $remove_header (param i32 i32 i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))

  ;; 64 KiB for texts, configuration and header values; 1 MiB for a body.
  (memory (export "memory") 17)
  (data (i32.const 0) "authorization")       ;; 13
  (data (i32.const 16) "x-user")             ;; 6
  (data (i32.const 32) "content-type")       ;; 12
  (data (i32.const 48) "application/json")   ;; 16
  (data (i32.const 64) "www-authenticate")   ;; 16
  (data (i32.const 80) "Bearer ")            ;; 7
  (data (i32.const 96) "unauthorized\n")     ;; 13
  (data (i32.const 112) "denied")            ;; 6
  (data (i32.const 128) "***")               ;; 3
  (global $config i32 (i32.const 1024))
  (global $config_limit i32 (i32.const 1024))
  (global $value i32 (i32.const 4096))
  (global $value_limit i32 (i32.const 4096))
  (global $body i32 (i32.const 65536))
  (global $body_limit i32 (i32.const 1048576))

  ;; Whether two texts of the same length are equal. Compares in constant time, so that timing doesn't reveal how much
  ;; of a token is right.
  (func $equal (param $a i32) (param $b i32) (param $len i32) (result i32)
    (local $differs i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (local.set $differs
          (i32.or (local.get $differs)
            (i32.xor (i32.load8_u (i32.add (local.get $a) (local.get $len)))
              (i32.load8_u (i32.add (local.get $b) (local.get $len))))))
        (br $next)))
    (i32.eqz (local.get $differs)))

  ;; Start and length of the n-th word of the configuration. Traps if there is none, rather than let everything pass.
  (func $word (param $number i32) (result i32 i32)
    (local $len i32) (local $start i32) (local $at i32)
    (local.set $len (call $get_config (global.get $config) (global.get $config_limit)))
    (if (i32.gt_u (local.get $len) (global.get $config_limit)) (then (unreachable)))
    (loop $next
      (if (i32.or (i32.ge_u (local.get $at) (local.get $len))
            (i32.eq (i32.load8_u (i32.add (global.get $config) (local.get $at))) (i32.const 0x20)))
        (then
          (if (i32.eqz (local.get $number))
            (then
              (if (i32.eq (local.get $at) (local.get $start)) (then (unreachable)))
              (return (i32.add (global.get $config) (local.get $start))
                (i32.sub (local.get $at) (local.get $start)))))
          (if (i32.ge_u (local.get $at) (local.get $len)) (then (unreachable)))
          (local.set $number (i32.sub (local.get $number) (i32.const 1)))
          (local.set $start (i32.add (local.get $at) (i32.const 1)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; Reads the only value of a header to $value. Returns its length, or -1 if there isn't exactly one that fits.
  (func $the_value (param $kind i32) (param $name i32) (param $name_len i32) (result i32)
    (local $count_len i64)
    (local.set $count_len
      (call $get_header_values (local.get $kind) (local.get $name) (local.get $name_len)
        (global.get $value) (global.get $value_limit)))
    (if (i32.or (i64.ne (i64.shr_u (local.get $count_len) (i64.const 32)) (i64.const 1))
          (i32.gt_u (i32.wrap_i64 (local.get $count_len)) (global.get $value_limit)))
      (then (return (i32.const -1))))
    ;; The length includes the NUL at the end.
    (i32.sub (i32.wrap_i64 (local.get $count_len)) (i32.const 1)))

  (func $authorized (result i32)
    (local $token i32) (local $len i32)
    (call $word (i32.const 0))
    (local.set $len)
    (local.set $token)
    (if (i32.ne (call $the_value (i32.const 0) (i32.const 0) (i32.const 13))
          (i32.add (local.get $len) (i32.const 7)))
      (then (return (i32.const 0))))
    (i32.and
      (call $equal (global.get $value) (i32.const 80) (i32.const 7))
      (call $equal (i32.add (global.get $value) (i32.const 7)) (local.get $token) (local.get $len))))

  (func (export "handle_request") (result i64)
    (local $user i32) (local $len i32)
    (if (i32.eqz (call $authorized))
      (then
        (call $log (i32.const 1) (i32.const 112) (i32.const 6))
        (call $set_status_code (i32.const 401))
        (call $set_header_value (i32.const 1) (i32.const 64) (i32.const 16) (i32.const 80) (i32.const 6))
        (call $write_body (i32.const 1) (i32.const 96) (i32.const 13))
        (return (i64.const 0))))
    (call $word (i32.const 1))
    (local.set $len)
    (local.set $user)
    (call $remove_header (i32.const 0) (i32.const 0) (i32.const 13))
    (call $set_header_value (i32.const 0) (i32.const 16) (i32.const 6) (local.get $user) (local.get $len))
    ;; Changing the response requires buffer_response (2).
    (drop (call $enable_features (i32.const 2)))
    (i64.const 1))

  ;; The byte of the body at $at, or 0 after its end.
  (func $byte (param $at i32) (param $len i32) (result i32)
    (if (i32.ge_u (local.get $at) (local.get $len)) (then (return (i32.const 0))))
    (i32.load8_u (i32.add (global.get $body) (local.get $at))))

  (func $skip_space (param $at i32) (param $len i32) (result i32)
    (local $byte i32)
    (loop $next
      (local.set $byte (call $byte (local.get $at) (local.get $len)))
      (if (i32.or
            (i32.or (i32.eq (local.get $byte) (i32.const 0x20)) (i32.eq (local.get $byte) (i32.const 0x09)))
            (i32.or (i32.eq (local.get $byte) (i32.const 0x0d)) (i32.eq (local.get $byte) (i32.const 0x0a))))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (local.get $at))

  ;; The end of the string that begins with its quote at $at.
  (func $string_end (param $at i32) (param $len i32) (result i32)
    (local $byte i32)
    (loop $next
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (if (i32.ge_u (local.get $at) (local.get $len)) (then (return (local.get $len))))
      (local.set $byte (call $byte (local.get $at) (local.get $len)))
      (if (i32.eq (local.get $byte) (i32.const 0x22)) (then (return (i32.add (local.get $at) (i32.const 1)))))
      (if (i32.eq (local.get $byte) (i32.const 0x5c))
        (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
      (br $next))
    (unreachable))

  (func $read_whole_body (result i32)
    (local $len i32) (local $eof_len i64)
    (loop $next
      ;; A longer body doesn't fit.
      (if (i32.eq (local.get $len) (global.get $body_limit)) (then (unreachable)))
      (local.set $eof_len
        (call $read_body (i32.const 1) (i32.add (global.get $body) (local.get $len))
          (i32.sub (global.get $body_limit) (local.get $len))))
      (local.set $len (i32.add (local.get $len) (i32.wrap_i64 (local.get $eof_len))))
      (br_if $next (i64.eqz (i64.shr_u (local.get $eof_len) (i64.const 32)))))
    (local.get $len))

  (func $write (param $from i32) (param $to i32)
    (call $write_body (i32.const 1) (i32.add (global.get $body) (local.get $from))
      (i32.sub (local.get $to) (local.get $from))))

  (func (export "handle_response") (param $req_ctx i32) (param $is_error i32)
    (local $len i32) (local $at i32) (local $end i32) (local $colon i32) (local $start i32) (local $written i32)
    (local $field i32) (local $field_len i32)
    (if (local.get $is_error) (then (return)))
    ;; The comparison is signed, since the length is -1 without a content-type.
    (if (i32.lt_s (call $the_value (i32.const 1) (i32.const 32) (i32.const 12)) (i32.const 16)) (then (return)))
    (if (i32.eqz (call $equal (global.get $value) (i32.const 48) (i32.const 16))) (then (return)))
    (call $word (i32.const 2))
    (local.set $field_len)
    (local.set $field)
    (local.set $len (call $read_whole_body))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $len)))
        (if (i32.ne (call $byte (local.get $at) (local.get $len)) (i32.const 0x22))
          (then
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next)))
        (local.set $end (call $string_end (local.get $at) (local.get $len)))
        (local.set $colon (call $skip_space (local.get $end) (local.get $len)))
        (local.set $start (call $skip_space (i32.add (local.get $colon) (i32.const 1)) (local.get $len)))
        ;; The field's name, a colon, and a string.
        (if (i32.and
              (i32.eq (i32.sub (local.get $end) (local.get $at)) (i32.add (local.get $field_len) (i32.const 2)))
              (i32.and
                (i32.eq (call $byte (local.get $colon) (local.get $len)) (i32.const 0x3a))
                (i32.eq (call $byte (local.get $start) (local.get $len)) (i32.const 0x22))))
          (then
            (if (call $equal (i32.add (global.get $body) (i32.add (local.get $at) (i32.const 1)))
                  (local.get $field) (local.get $field_len))
              (then
                (call $write (local.get $written) (i32.add (local.get $start) (i32.const 1)))
                (call $write_body (i32.const 1) (i32.const 128) (i32.const 3))
                (local.set $end (call $string_end (local.get $start) (local.get $len)))
                (local.set $written (i32.sub (local.get $end) (i32.const 1)))))))
        (local.set $at (local.get $end))
        (br $next)))
    (if (local.get $written) (then (call $write (local.get $written) (local.get $len))))))
