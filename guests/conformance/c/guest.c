// The conformance guest for the C binding. See ../README.md for scripts, operations and reports.
//
// Pointers in C are addresses, so scripts use the memory directly: it has 48 pages, and the guest's own data ends
// before FREE.
#include "http_handler.h"

#define FREE 0x100000

// All capabilities, except for results that http_next and http_stop can't return.
enum { MEMORY = 1, LIMITS = 2, TEXT = 4, NUMBERS = 8 };

static uint8_t script[32768], report[131072];
static char hex[262144];
static struct slot {
  uint32_t used, ctx, len;
  uint8_t bytes[8180];
} slots[16];

static const uint8_t *pc;
static uint32_t arg[8], reported, next, ctx, requests = 0x1000;
static uint64_t last, registers[16];
static int running, dirty;

extern char __heap_base;

static void require(int holds) {
  if (!holds) __builtin_trap();
}

static uint32_t number(uint32_t bytes) {
  uint32_t value = 0;
  for (uint32_t i = 0; i < bytes; i++) value |= (uint32_t)*pc++ << 8 * i;
  return value;
}

static uint64_t number64(void) {
  uint64_t low = number(4);
  return (uint64_t)number(4) << 32 | low;
}

static void operands(uint32_t count) {
  for (uint32_t i = 0; i < count; i++) switch (*pc++) {
      case 0: arg[i] = number(4); break;
      case 1: arg[i] = number(1); break;
      case 2:
        arg[i + 1] = number(2);
        arg[i] = (uint32_t)pc;
        pc += arg[++i];
        break;
      case 3: arg[i] = (uint32_t)last; break;
      case 4: arg[i] = (uint32_t)(last >> 32); break;
      case 5: arg[i] = (uint32_t)registers[*pc++ & 15]; break;
      default: __builtin_trap();
    }
}

// The binding's names for the numbers in scripts; other numbers are passed as they are.
static const uint32_t kinds[] = {HTTP_REQUEST, HTTP_RESPONSE, HTTP_REQUEST_TRAILERS, HTTP_RESPONSE_TRAILERS};
static const int32_t levels[] = {HTTP_LOG_DEBUG, HTTP_LOG_INFO, HTTP_LOG_WARN, HTTP_LOG_ERROR};
static const uint32_t features[] = {HTTP_BUFFER_REQUEST, HTTP_BUFFER_RESPONSE, HTTP_TRAILERS};

static uint32_t kind(uint32_t number) { return number < 4 ? kinds[number] : number; }

static int32_t level(void) { return arg[0] + 1 < 4 ? levels[arg[0] + 1] : (int32_t)arg[0]; }

static uint32_t feature_set(uint32_t bits) {
  uint32_t set = bits & ~7;
  for (uint32_t i = 0; i < 3; i++)
    if (bits >> i & 1) set |= features[i];
  return set;
}

static uint8_t *at(uint32_t address) { return (uint8_t *)address; }
static char *text(uint32_t i) { return (char *)arg[i]; }

static void put(const void *bytes, uint32_t len) {
  require(reported + len <= sizeof report);
  for (uint32_t i = 0; i < len; i++) report[reported++] = ((const uint8_t *)bytes)[i];
}

static uint64_t pack(uint32_t high, uint32_t low) { return (uint64_t)high << 32 | low; }

// Reads a body to its end, with a copy to another one if `to` is 0 or 1.
static uint64_t read_all(uint32_t from, char *buf, uint32_t limit, uint32_t to) {
  uint32_t hash = 0x811c9dc5, total = 0;
  for (uint32_t reads = 0; reads < 200000; reads++) {
    uint64_t read = http_read_body(from, buf, limit);
    uint32_t len = http_len(read);
    if (len > limit) return pack(0xbad00000, 1);
    if (len < limit && !http_eof(read)) return pack(0xbad00000, 2);
    if (read >> 33 != 0) return pack(0xbad00000, 3);
    for (uint32_t i = 0; i < len; i++) hash = (hash ^ (uint8_t)buf[i]) * 0x01000193;
    total += len;
    if (to < 2) http_write_body(kind(to), buf, len);
    if (http_eof(read)) return pack(hash, total);
  }
  return pack(0xbad00000, 4);
}

static void deliver(uint32_t where) {
  for (uint32_t i = 0; i < reported; i++) {
    hex[2 * i] = "0123456789abcdef"[report[i] >> 4];
    hex[2 * i + 1] = "0123456789abcdef"[report[i] & 15];
  }
  const char *name = where == 2 ? "x-tck-report-r" : "x-tck-report";
  http_set_header_value(where ? HTTP_RESPONSE : HTTP_REQUEST, name, where == 2 ? 14 : 12, hex, reported * 2);
}

static volatile uint32_t one = 1;
static uint32_t deeper(uint32_t depth) { return one ? deeper(depth + one) + one : depth; }

static void list(uint64_t packed) { last = pack(http_count(packed), http_len(packed)); }

static void run(const uint8_t *from, uint32_t len) {
  const uint8_t *end = from + len;
  for (pc = from; pc < end;) switch (*pc++) {
      case 1: operands(1), last = http_enable_features(feature_set(arg[0])); break;
      case 2: operands(2), last = http_get_config(text(0), arg[1]); break;
      case 3: operands(3), http_log(level(), text(1), arg[2]); break;
      case 4: operands(1), last = http_log_enabled(level()); break;
      case 5: operands(2), last = http_get_method(text(0), arg[1]); break;
      case 6: operands(2), http_set_method(text(0), arg[1]); break;
      case 7: operands(2), last = http_get_uri(text(0), arg[1]); break;
      case 8: operands(2), http_set_uri(text(0), arg[1]); break;
      case 9: operands(2), last = http_get_protocol_version(text(0), arg[1]); break;
      case 10: operands(2), last = http_get_source_addr(text(0), arg[1]); break;
      case 11: operands(3), list(http_get_header_names(kind(arg[0]), text(1), arg[2])); break;
      case 12: operands(5), list(http_get_header_values(kind(arg[0]), text(1), arg[2], text(3), arg[4])); break;
      case 13: operands(5), http_set_header_value(kind(arg[0]), text(1), arg[2], text(3), arg[4]); break;
      case 14: operands(5), http_add_header_value(kind(arg[0]), text(1), arg[2], text(3), arg[4]); break;
      case 15: operands(3), http_remove_header(kind(arg[0]), text(1), arg[2]); break;
      case 16: {
        operands(3);
        uint64_t read = http_read_body(kind(arg[0]), text(1), arg[2]);
        last = pack(http_eof(read), http_len(read));
        break;
      }
      case 17: operands(3), http_write_body(kind(arg[0]), text(1), arg[2]); break;
      case 18: last = http_get_status_code(); break;
      case 19: operands(1), http_set_status_code(arg[0]); break;

      case 64: put("V", 1), put(&last, 8); break;
      case 65: operands(2), put("M", 1), put(&arg[1], 4), put(at(arg[0]), arg[1]); break;
      case 66: require(last == number64()); break;
      case 67:
        operands(3);
        for (uint32_t i = 0; i < arg[2]; i++) require(at(arg[0])[i] == at(arg[1])[i]);
        break;
      case 68:
        operands(3);
        for (uint32_t i = 0; i < arg[2]; i++) at(arg[0])[i] = arg[1];
        break;
      case 69:
        operands(2);
        for (uint32_t i = 0; i < arg[1]; i++) at(arg[0])[i] = i * 167 + (i >> 8);
        break;
      case 70: operands(4), last = read_all(kind(arg[0]), text(1), arg[2], arg[3]); break;
      case 71: operands(2), next = arg[0], ctx = arg[1]; break;
      case 72: __builtin_trap();
      case 73: operands(1), deliver(arg[0]); break;
      case 74: operands(1), registers[arg[0] & 15] = last; break;
      case 75: last = dirty; break;
      case 76:
        for (volatile int ever = 1; ever;) {
        }
        break;
      case 77: operands(1), last = (uint32_t)last + arg[0]; break;
      case 78: operands(1), last = last == registers[arg[0] & 15]; break;
      case 79: operands(1), last = (uint32_t)__builtin_wasm_memory_grow(0, arg[0]); break;
      case 80: operands(1), last = *(uint32_t *)at(arg[0]); break;
      case 81: operands(2), *(uint32_t *)at(arg[0]) = arg[1]; break;
      case 82: last = deeper(0); break;
      case 83: last = -(uint32_t)last; break;
      case 84: last = MEMORY | LIMITS | TEXT | NUMBERS; break;
      default: __builtin_trap();
    }
}

static uint32_t digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

// Decodes the script in a request header.
static uint32_t receive(const char *name, uint32_t name_len, uint8_t *to, uint32_t room) {
  uint64_t found = http_get_header_values(HTTP_REQUEST, name, name_len, hex, sizeof hex);
  if (http_count(found) == 0) return 0;
  uint32_t len = (http_len(found) - 1) / 2;
  require(http_count(found) == 1 && len <= room);
  for (uint32_t i = 0; i < len; i++) to[i] = digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]);
  return len;
}

static void enter(void) {
  // A script that didn't end has trapped.
  dirty |= running;
  running = 1;
  reported = 0;
  last = 0;
}

HTTP_EXPORT(handle_request) uint64_t handle_request(void) {
  require(&__heap_base <= (char *)FREE);
  enter();
  next = 1;
  ctx = ++requests;
  // If all slots are used, a request was abandoned.
  struct slot *slot = &slots[requests % 16];
  for (uint32_t i = 0; i < 16; i++)
    if (!slots[i].used) slot = &slots[i];
  slot->len = receive(HTTP_STR("x-tck-script-r"), slot->bytes, sizeof slot->bytes);
  run(script, receive(HTTP_STR("x-tck-script"), script, sizeof script));
  slot->used = next;
  slot->ctx = ctx;
  running = 0;
  require(next < 2);
  return next ? http_next(ctx) : http_stop();
}

HTTP_EXPORT(handle_response) void handle_response(uint32_t req_ctx, uint32_t is_error) {
  enter();
  struct slot *slot = 0;
  for (uint32_t i = 0; i < 16; i++)
    if (slots[i].used && slots[i].ctx == req_ctx) slot = &slots[i];
  require(slot != 0);
  slot->used = 0;
  if (!is_error) run(slot->bytes, slot->len);
  running = 0;
}
