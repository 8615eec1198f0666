// Redacts a JSON field in event streams and JSON requests and responses while they are sent: the value of each field of
// that name, if it is a string, becomes "***". The configuration is the field's name, "ssn" by default.
//
// A body can be split anywhere: a few bytes of state are kept from one piece to the next. So each piece is passed
// on at once.
#include "../../examples/c/http_handler.h"

// Declares support for hosts that send writes while the guest runs: heads aren't changed here, and reads may
// return less than requested. Clang only creates custom sections from assembler.
__asm__(".section \".custom_section.http-wasm-stream\",\"\",@\n.ascii \"1\"\n.text\n");

enum { PIECE = 16 * 1024, MAX_FIELD = 256 };

static char field[MAX_FIELD];
static uint32_t field_len;
static char piece[PIECE];
// An empty value grows by three bytes, and takes at least five bytes of the piece.
static char out[2 * PIECE];

enum state { OUTSIDE, STRING, ESCAPE, AFTER_NAME, BEFORE_VALUE, VALUE, VALUE_ESCAPE };

// The position within the JSON at the end of a piece.
struct scanner {
  enum state state;
  // The number of bytes of a string that match the field's name so far; more than its length if they don't.
  uint32_t matched;
};

static int is_space(char byte) { return byte == ' ' || byte == '\t' || byte == '\r'; }

static enum state next(struct scanner *scanner, char byte) {
  switch (scanner->state) {
    case STRING:
      if (byte == '\\') {
        scanner->matched = MAX_FIELD + 1;
        return ESCAPE;
      }
      if (byte == '"') return scanner->matched == field_len ? AFTER_NAME : OUTSIDE;
      if (scanner->matched < field_len && field[scanner->matched] == byte) scanner->matched++;
      else scanner->matched = MAX_FIELD + 1;
      return STRING;
    case ESCAPE:
      return STRING;
    case VALUE:
      return byte == '\\' ? VALUE_ESCAPE : byte == '"' ? OUTSIDE : VALUE;
    case VALUE_ESCAPE:
      return VALUE;
    case AFTER_NAME:
      if (is_space(byte)) return AFTER_NAME;
      if (byte == ':') return BEFORE_VALUE;
      break;
    case BEFORE_VALUE:
      if (is_space(byte)) return BEFORE_VALUE;
      if (byte == '"') return VALUE;
      break;
    case OUTSIDE:
      break;
  }
  scanner->matched = 0;
  return byte == '"' ? STRING : OUTSIDE;
}

static uint32_t redact(struct scanner *scanner, const char *in, uint32_t len) {
  uint32_t written = 0;
  for (uint32_t at = 0; at < len; at++) {
    char byte = in[at];
    enum state before = scanner->state;
    // JSON strings don't continue on the next line.
    enum state after = scanner->state = byte == '\n' ? OUTSIDE : next(scanner, byte);
    if (after == VALUE && before == BEFORE_VALUE) {
      for (const char *star = "\"***"; *star; star++) out[written++] = *star;
    } else if (after != VALUE && after != VALUE_ESCAPE) {
      out[written++] = byte;
    }
  }
  return written;
}

HTTP_EXPORT(_initialize) void initialize(void) {
  field_len = http_get_config(field, MAX_FIELD);
  if (field_len > MAX_FIELD) __builtin_trap();
  if (field_len == 0) {
    field[0] = field[1] = 's';
    field[2] = 'n';
    field_len = 3;
  }
  http_enable_features(HTTP_BUFFER_RESPONSE);
}

// Whether a value of content-type begins like this.
static int is_type(const char *values, uint64_t count_len, const char *type, uint32_t len) {
  if (http_count(count_len) == 0 || http_len(count_len) < len) return 0;
  for (uint32_t at = 0; at < len; at++)
    if (values[at] != type[at]) return 0;
  return 1;
}

static void redact_body(uint32_t kind) {
  uint64_t found = http_get_header_values(kind, HTTP_STR("content-type"), piece, PIECE);
  if (!is_type(piece, found, HTTP_STR("text/event-stream")) && !is_type(piece, found, HTTP_STR("application/json")))
    return;
  struct scanner scanner = {OUTSIDE, 0};
  for (;;) {
    uint64_t read = http_read_body(kind, piece, PIECE);
    uint32_t len = redact(&scanner, piece, http_len(read));
    if (len > 0) http_write_body(kind, out, len);
    if (http_eof(read)) return;
  }
}

HTTP_EXPORT(handle_request) uint64_t handle_request(void) {
  redact_body(HTTP_REQUEST);
  return 1;
}

HTTP_EXPORT(handle_response) void handle_response(uint32_t req_ctx, uint32_t is_error) {
  if (!is_error) redact_body(HTTP_RESPONSE);
}
