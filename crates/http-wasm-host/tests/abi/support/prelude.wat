  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (import "http_handler" "log_enabled" (func $log_enabled (param i32) (result i32)))
  (import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
  (import "http_handler" "set_method" (func $set_method (param i32 i32)))
  (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
  (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
  (import "http_handler" "get_protocol_version" (func $get_protocol_version (param i32 i32) (result i32)))
  (import "http_handler" "get_source_addr" (func $get_source_addr (param i32 i32) (result i32)))
  (import "http_handler" "get_header_names" (func $get_header_names (param i32 i32 i32) (result i64)))
  (import "http_handler" "get_header_values"
    (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "add_header_value" (func $add_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "remove_header" (func $remove_header (param i32 i32 i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (import "http_handler" "get_status_code" (func $get_status_code (result i32)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))

  ;; Notes: a tag, a 64-bit head, and for all but numbers as many bytes as the head's low half says.
  (global $notes_end (mut i32) (i32.const 32768))
  (func $put_head (param $tag i32) (param $head i64)
    (i32.store8 (global.get $notes_end) (local.get $tag))
    (i64.store offset=1 (global.get $notes_end) (local.get $head))
    (global.set $notes_end (i32.add (global.get $notes_end) (i32.const 9))))
  (func $put (param $tag i32) (param $head i64) (param $at i32)
    (call $put_head (local.get $tag) (local.get $head))
    (memory.copy (global.get $notes_end) (local.get $at) (i32.wrap_i64 (local.get $head)))
    (global.set $notes_end (i32.add (global.get $notes_end) (i32.wrap_i64 (local.get $head)))))
  ;; Notes a number.
  (func $note (param $number i32) (call $note64 (i64.extend_i32_u (local.get $number))))
  (func $note64 (param $number i64) (call $put_head (i32.const 0) (local.get $number)))
  ;; Notes bytes of memory.
  (func $note_bytes (param $at i32) (param $len i32)
    (call $put (i32.const 1) (i64.extend_i32_u (local.get $len)) (local.get $at)))
  ;; Notes the string of this length that was written to BUF.
  (func $note_text (param $len i32) (call $note_bytes (i32.const 16384) (local.get $len)))
  ;; Notes the list (a count_len) that was written to BUF.
  (func $note_list (param $count_len i64)
    (call $put (i32.const 2) (local.get $count_len) (i32.const 16384)))
  ;; Reads up to $limit bytes of a body to BUF and notes what came.
  (func $read (param $kind i32) (param $limit i32)
    (call $put (i32.const 3)
      (call $read_body (local.get $kind) (i32.const 16384) (local.get $limit)) (i32.const 16384)))

  ;; Reads a whole body to LARGE in steps, as existing guests do: a read that fills less than its buffer without EOF is
  ;; an error. Notes the number of bytes and their FNV-1a hash.
  (func $read_all (param $kind i32) (param $step i32)
    (local $result i64) (local $len i32) (local $at i32) (local $total i32) (local $hash i64)
    (local.set $hash (i64.const 0xcbf29ce484222325))
    (loop $next
      (local.set $result (call $read_body (local.get $kind) (i32.const 65536) (local.get $step)))
      (local.set $len (i32.wrap_i64 (local.get $result)))
      (if (i32.gt_u (local.get $len) (local.get $step)) (then unreachable))
      (if (i64.gt_u (i64.shr_u (local.get $result) (i64.const 32)) (i64.const 1)) (then unreachable))
      (if (i32.and (i32.lt_u (local.get $len) (local.get $step))
                   (i64.eqz (i64.shr_u (local.get $result) (i64.const 32))))
        (then unreachable))
      (local.set $at (i32.const 0))
      (block $done
        (loop $byte
          (br_if $done (i32.eq (local.get $at) (local.get $len)))
          (local.set $hash
            (i64.mul
              (i64.xor (local.get $hash) (i64.load8_u offset=65536 (local.get $at)))
              (i64.const 0x100000001b3)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $byte)))
      (local.set $total (i32.add (local.get $total) (local.get $len)))
      (br_if $next (i64.eqz (i64.shr_u (local.get $result) (i64.const 32)))))
    (call $note (local.get $total))
    (call $note64 (local.get $hash)))

  ;; Answers a request of method DUMP with the notes taken so far, and forgets them.
  (func $dumps (result i32)
    (if (i32.ne (call $get_method (i32.const 512) (i32.const 4)) (i32.const 4))
      (then (return (i32.const 0))))
    (if (i32.ne (i32.load (i32.const 512)) (i32.const 0x504d5544))
      (then (return (i32.const 0))))
    (call $write_body (i32.const 1) (i32.const 32768)
      (i32.sub (global.get $notes_end) (i32.const 32768)))
    (global.set $notes_end (i32.const 32768))
    (i32.const 1))
