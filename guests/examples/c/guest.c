// Accepts requests with the right bearer token, passes the user's name to the next handler, and redacts a field in JSON
// responses. The configuration is one line: the token, the user, and the name of the field.
#include "http_handler.h"

#define MAX_BODY (1024 * 1024)

static char config[1024], value[4096], body[MAX_BODY];

// A slice of the configuration.
struct text {
  const char *start;
  uint32_t len;
};

static int equal(const char *a, const char *b, uint32_t len) {
  uint32_t differs = 0;
  // Compares in constant time, so that timing doesn't reveal how much of a token is right.
  for (uint32_t i = 0; i < len; i++) differs |= (uint8_t)a[i] ^ (uint8_t)b[i];
  return differs == 0;
}

// The n-th word of the configuration.
static struct text word(uint32_t number) {
  uint32_t len = http_get_config(config, sizeof config), start = 0;
  // Fail rather than let everything pass.
  if (len > sizeof config) __builtin_trap();
  for (uint32_t i = 0;; i++) {
    if (i < len && config[i] != ' ') continue;
    if (number-- == 0) {
      if (i == start) __builtin_trap();
      return (struct text){config + start, i - start};
    }
    if (i >= len) __builtin_trap();
    start = i + 1;
  }
}

// Whether the only value of this header begins with a text, or, if `whole`, is equal to it.
static int has(uint32_t kind, const char *name, uint32_t name_len, struct text a, struct text b, int whole) {
  uint64_t found = http_get_header_values(kind, name, name_len, value, sizeof value);
  if (http_count(found) != 1 || http_len(found) > sizeof value) return 0;
  uint32_t len = http_len(found) - 1;
  if (whole ? len != a.len + b.len : len < a.len + b.len) return 0;
  return equal(value, a.start, a.len) & equal(value + a.len, b.start, b.len);
}

#define TEXT(literal) ((struct text){HTTP_STR(literal)})

HTTP_EXPORT(handle_request) uint64_t handle_request(void) {
  struct text token = word(0), user = word(1);
  if (!has(HTTP_REQUEST, HTTP_STR("authorization"), TEXT("Bearer "), token, 1)) {
    http_log(HTTP_LOG_WARN, HTTP_STR("denied"));
    http_set_status_code(401);
    http_set_header_value(HTTP_RESPONSE, HTTP_STR("www-authenticate"), HTTP_STR("Bearer"));
    http_write_body(HTTP_RESPONSE, HTTP_STR("unauthorized\n"));
    return http_stop();
  }
  http_remove_header(HTTP_REQUEST, HTTP_STR("authorization"));
  http_set_header_value(HTTP_REQUEST, HTTP_STR("x-user"), user.start, user.len);
  // Required for changing the response.
  http_enable_features(HTTP_BUFFER_RESPONSE);
  return http_next(0);
}

static uint32_t skip_space(uint32_t at, uint32_t len) {
  while (at < len && (body[at] == ' ' || body[at] == '\t' || body[at] == '\r' || body[at] == '\n')) at++;
  return at;
}

// The end of the string that begins with its quote at `at`.
static uint32_t string_end(uint32_t at, uint32_t len) {
  for (at++; at < len && body[at] != '"'; at++)
    if (body[at] == '\\') at++;
  return at < len ? at + 1 : len;
}

HTTP_EXPORT(handle_response) void handle_response(uint32_t req_ctx, uint32_t is_error) {
  if (is_error || !has(HTTP_RESPONSE, HTTP_STR("content-type"), TEXT("application/json"), TEXT(""), 0)) return;
  uint32_t len = 0;
  for (;;) {
    // A longer body doesn't fit.
    if (len == MAX_BODY) __builtin_trap();
    uint64_t read = http_read_body(HTTP_RESPONSE, body + len, MAX_BODY - len);
    len += http_len(read);
    if (http_eof(read)) break;
  }
  struct text field = word(2);
  uint32_t written = 0;
  for (uint32_t at = 0; at < len;) {
    if (body[at] != '"') {
      at++;
      continue;
    }
    uint32_t end = string_end(at, len), colon = skip_space(end, len), start = skip_space(colon + 1, len);
    int is_field = end - at == field.len + 2 && equal(body + at + 1, field.start, field.len);
    if (is_field && colon < len && body[colon] == ':' && start < len && body[start] == '"') {
      http_write_body(HTTP_RESPONSE, body + written, start + 1 - written);
      http_write_body(HTTP_RESPONSE, HTTP_STR("***"));
      end = string_end(start, len);
      written = end - 1;
    }
    at = end;
  }
  if (written > 0) http_write_body(HTTP_RESPONSE, body + written, len - written);
}
