;; Rewrites headers in both directions, as many guests in front of a service do:
;;   request   `x-forwarded-host` is set to `host`; `x-internal`, which clients must not set, is removed
;;   response  `x-served-by: http-wasm` is set, `server` is removed
(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_header_values"
    (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "remove_header" (func $remove_header (param i32 i32 i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "host")                       ;; 4
  (data (i32.const 16) "x-forwarded-host")          ;; 16
  (data (i32.const 32) "x-internal")                ;; 10
  (data (i32.const 48) "x-served-by")               ;; 11
  (data (i32.const 64) "http-wasm")                 ;; 9
  (data (i32.const 80) "server")                    ;; 6
  (global $value i32 (i32.const 1024))
  (global $value_limit i32 (i32.const 4096))

  ;; Changing the response requires buffer_response (2).
  (func (export "_initialize") (drop (call $enable_features (i32.const 2))))

  (func (export "handle_request") (result i64)
    (local $count_len i64)
    (local.set $count_len
      (call $get_header_values
        (i32.const 0) (i32.const 0) (i32.const 4) (global.get $value) (global.get $value_limit)))
    ;; Exactly one value, which fits; its length includes a NUL at the end.
    (if (i32.and
          (i64.eq (i64.shr_u (local.get $count_len) (i64.const 32)) (i64.const 1))
          (i32.le_u (i32.wrap_i64 (local.get $count_len)) (global.get $value_limit)))
      (then
        (call $set_header_value
          (i32.const 0) (i32.const 16) (i32.const 16)
          (global.get $value) (i32.sub (i32.wrap_i64 (local.get $count_len)) (i32.const 1)))))
    (call $remove_header (i32.const 0) (i32.const 32) (i32.const 10))
    (i64.const 1))

  (func (export "handle_response") (param $req_ctx i32) (param $is_error i32)
    (call $set_header_value (i32.const 1) (i32.const 48) (i32.const 11) (i32.const 64) (i32.const 9))
    (call $remove_header (i32.const 1) (i32.const 80) (i32.const 6))))
