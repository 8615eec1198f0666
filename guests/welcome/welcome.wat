;; The guest that `http-wasm serve` runs by default. It demonstrates the three most common tasks of a guest:
;;   reject   /admin and below is answered with 401, unless the request has an `authorization` header
;;   rewrite  /v1/… is forwarded as /…, with the request header `x-api-version: 1`
;;   route    /hello is answered by the guest itself
;; Every request that proceeds gets the response header `x-guest: welcome`.
(module
  (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
  (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
  (import "http_handler" "get_header_values"
    (func $get_header_values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "/admin")                     ;; 6
  (data (i32.const 16) "/v1/")                      ;; 4
  (data (i32.const 32) "/hello")                    ;; 6
  (data (i32.const 48) "authorization")             ;; 13
  (data (i32.const 64) "www-authenticate")          ;; 16
  (data (i32.const 80) "Basic")                     ;; 5
  (data (i32.const 96) "x-api-version")             ;; 13
  (data (i32.const 112) "1")                        ;; 1
  (data (i32.const 128) "x-guest")                  ;; 7
  (data (i32.const 144) "welcome")                  ;; 7
  (data (i32.const 160) "content-type")             ;; 12
  (data (i32.const 176) "text/plain")               ;; 10
  (data (i32.const 192) "hello from the guest\n")   ;; 21
  (data (i32.const 224) "the guest says no\n")      ;; 18
  (global $uri i32 (i32.const 1024))
  (global $uri_limit i32 (i32.const 8192))
  (global $uri_len (mut i32) (i32.const 0))

  ;; Whether the URI begins with the bytes at $prefix.
  (func $starts_with (param $prefix i32) (param $len i32) (result i32)
    (local $at i32)
    (if (i32.lt_u (global.get $uri_len) (local.get $len)) (then (return (i32.const 0))))
    (loop $next
      (if (i32.eq (local.get $at) (local.get $len)) (then (return (i32.const 1))))
      (if (i32.ne
            (i32.load8_u (i32.add (global.get $uri) (local.get $at)))
            (i32.load8_u (i32.add (local.get $prefix) (local.get $at))))
        (then (return (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    unreachable)

  ;; Whether the URI's path is the one at $path, or a path below it.
  (func $is_or_below (param $path i32) (param $len i32) (result i32)
    (local $after i32)
    (if (i32.eqz (call $starts_with (local.get $path) (local.get $len))) (then (return (i32.const 0))))
    (if (i32.eq (global.get $uri_len) (local.get $len)) (then (return (i32.const 1))))
    (local.set $after (i32.load8_u (i32.add (global.get $uri) (local.get $len))))
    (i32.or
      (i32.eq (local.get $after) (i32.const 47))    ;; /
      (i32.eq (local.get $after) (i32.const 63))))  ;; ?

  (func $answer (param $status i32) (param $body i32) (param $len i32)
    (call $set_status_code (local.get $status))
    (call $set_header_value (i32.const 1) (i32.const 160) (i32.const 12) (i32.const 176) (i32.const 10))
    (call $write_body (i32.const 1) (local.get $body) (local.get $len)))

  (func (export "handle_request") (result i64)
    (global.set $uri_len (call $get_uri (global.get $uri) (global.get $uri_limit)))
    ;; A URI that is too long for the buffer isn't written at all, so it can't be checked.
    (if (i32.gt_u (global.get $uri_len) (global.get $uri_limit))
      (then
        (call $set_status_code (i32.const 414))
        (return (i64.const 0))))

    (if (call $is_or_below (i32.const 0) (i32.const 6))
      (then
        (if (i64.eqz (call $get_header_values
              (i32.const 0) (i32.const 48) (i32.const 13) (i32.const 0) (i32.const 0)))
          (then
            (call $set_header_value (i32.const 1) (i32.const 64) (i32.const 16) (i32.const 80) (i32.const 5))
            (call $answer (i32.const 401) (i32.const 224) (i32.const 18))
            (return (i64.const 0))))))

    (if (call $is_or_below (i32.const 32) (i32.const 6))
      (then
        (call $answer (i32.const 200) (i32.const 192) (i32.const 21))
        (return (i64.const 0))))

    (if (call $starts_with (i32.const 16) (i32.const 4))
      (then
        ;; Everything after "/v1".
        (call $set_uri
          (i32.add (global.get $uri) (i32.const 3))
          (i32.sub (global.get $uri_len) (i32.const 3)))
        (call $set_header_value (i32.const 0) (i32.const 96) (i32.const 13) (i32.const 112) (i32.const 1))))

    (call $set_header_value (i32.const 1) (i32.const 128) (i32.const 7) (i32.const 144) (i32.const 7))
    (i64.const 1))

  (func (export "handle_response") (param $req_ctx i32) (param $is_error i32)))
