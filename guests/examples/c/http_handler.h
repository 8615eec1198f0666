/* The http-wasm HTTP handler ABI for C: https://http-wasm.io/http-handler-abi/
 *
 * A single header without dependencies, for any host, and for clang with or without a libc. Strings are pointers with
 * lengths, and are not NUL-terminated. A function that fills a buffer returns the full length of the value; if that is
 * more than the size of the buffer, nothing was written. */
#ifndef HTTP_HANDLER_H
#define HTTP_HANDLER_H

#include <stddef.h>
#include <stdint.h>

#define HTTP_IMPORT(name) __attribute__((import_module("http_handler"), import_name(#name)))
#define HTTP_EXPORT(name) __attribute__((export_name(#name)))

/* Kinds of headers. The first two are also kinds of bodies. */
enum { HTTP_REQUEST = 0, HTTP_RESPONSE = 1, HTTP_REQUEST_TRAILERS = 2, HTTP_RESPONSE_TRAILERS = 3 };
/* Features for http_enable_features, to be combined with |. */
enum { HTTP_BUFFER_REQUEST = 1, HTTP_BUFFER_RESPONSE = 2, HTTP_TRAILERS = 4 };
enum { HTTP_LOG_DEBUG = -1, HTTP_LOG_INFO = 0, HTTP_LOG_WARN = 1, HTTP_LOG_ERROR = 2 };

/* Enables features, and returns those that the host supports. */
HTTP_IMPORT(enable_features) uint32_t http_enable_features(uint32_t features);
/* The guest's configuration. */
HTTP_IMPORT(get_config) uint32_t http_get_config(char *buf, uint32_t buf_limit);
HTTP_IMPORT(log) void http_log(int32_t level, const char *message, uint32_t message_len);
HTTP_IMPORT(log_enabled) uint32_t http_log_enabled(int32_t level);

HTTP_IMPORT(get_method) uint32_t http_get_method(char *buf, uint32_t buf_limit);
HTTP_IMPORT(set_method) void http_set_method(const char *method, uint32_t method_len);
/* Path and query, percent-encoded. */
HTTP_IMPORT(get_uri) uint32_t http_get_uri(char *buf, uint32_t buf_limit);
HTTP_IMPORT(set_uri) void http_set_uri(const char *uri, uint32_t uri_len);
HTTP_IMPORT(get_protocol_version) uint32_t http_get_protocol_version(char *buf, uint32_t buf_limit);
/* IP:PORT of the client. */
HTTP_IMPORT(get_source_addr) uint32_t http_get_source_addr(char *buf, uint32_t buf_limit);

/* Each value is followed by a NUL. Unpack the result with http_count and http_len. */
HTTP_IMPORT(get_header_names) uint64_t http_get_header_names(uint32_t kind, char *buf, uint32_t buf_limit);
HTTP_IMPORT(get_header_values)
uint64_t http_get_header_values(uint32_t kind, const char *name, uint32_t name_len, char *buf, uint32_t buf_limit);
HTTP_IMPORT(set_header_value)
void http_set_header_value(uint32_t kind, const char *name, uint32_t name_len, const char *value, uint32_t value_len);
HTTP_IMPORT(add_header_value)
void http_add_header_value(uint32_t kind, const char *name, uint32_t name_len, const char *value, uint32_t value_len);
HTTP_IMPORT(remove_header) void http_remove_header(uint32_t kind, const char *name, uint32_t name_len);

/* Continues where the last call stopped. Unpack the result with http_eof and http_len. buf_limit must not be 0. */
HTTP_IMPORT(read_body) uint64_t http_read_body(uint32_t kind, char *buf, uint32_t buf_limit);
/* The first call replaces the body, later ones append to it. */
HTTP_IMPORT(write_body) void http_write_body(uint32_t kind, const char *body, uint32_t body_len);

HTTP_IMPORT(get_status_code) uint32_t http_get_status_code(void);
HTTP_IMPORT(set_status_code) void http_set_status_code(uint32_t status);

/* The number of values, whether a body has ended, and the number of bytes. */
static inline uint32_t http_count(uint64_t count_len) { return (uint32_t)(count_len >> 32); }
static inline int http_eof(uint64_t eof_len) { return eof_len >> 32 != 0; }
static inline uint32_t http_len(uint64_t packed) { return (uint32_t)packed; }

/* Results of handle_request: the request proceeds, and handle_response gets req_ctx; or the guest answers it. */
static inline uint64_t http_next(uint32_t req_ctx) { return (uint64_t)req_ctx << 32 | 1; }
static inline uint64_t http_stop(void) { return 0; }

/* What a guest must define:
 *   HTTP_EXPORT(handle_request) uint64_t handle_request(void) { … }
 *   HTTP_EXPORT(handle_response) void handle_response(uint32_t req_ctx, uint32_t is_error) { … }
 */

/* String literals as arguments: http_log(HTTP_LOG_INFO, HTTP_STR("text")). */
#define HTTP_STR(literal) (literal), (uint32_t)(sizeof(literal) - 1)

#endif
