// The conformance guest for the Go binding. See ../README.md for scripts, operations and reports.
//
// The binding passes strings and slices, so the memory of scripts is an array.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

const (
	memorySize = 0x300000
	// The position in the running script.
	scriptAt   = 0x11000
	scriptSize = 32768
)

// What the binding can pass. It has its own buffers and pointers, and next and stop don't allow arbitrary results.
const capabilities = 4 | 8

var (
	memory    [memorySize]byte
	pc        uint32
	arg       [8]uint32
	report    []byte
	last      uint64
	registers [16]uint64
	proceeds  uint32
	ctx       uint32
	requests  uint32 = 0x1000
	late             = map[uint32][]byte{}
	running   bool
	dirty     uint64
)

func main() {}

func require(holds bool) {
	if !holds {
		panic("the script requires otherwise")
	}
}

func pack(high, low uint32) uint64 { return uint64(high)<<32 | uint64(low) }

// slice returns the memory at the address in the operand with this number. Its length is in the next one.
func slice(i int) []byte { return memory[arg[i]:][:arg[i+1]:arg[i+1]] }

func text(i int) string { return string(slice(i)) }

func number(bytes uint32) (value uint32) {
	for i := range bytes {
		value |= uint32(memory[pc]) << (8 * i)
		pc++
	}
	return value
}

func operands(count int) {
	for i := 0; i < count; i++ {
		switch number(1) {
		case 0:
			arg[i] = number(4)
		case 1:
			arg[i] = number(1)
		case 2:
			arg[i+1] = number(2)
			arg[i] = pc
			i++
			pc += arg[i]
		case 3:
			arg[i] = uint32(last)
		case 4:
			arg[i] = uint32(last >> 32)
		case 5:
			arg[i] = uint32(registers[number(1)])
		default:
			panic("an unknown operand")
		}
	}
}

// give does with a value what the ABI does: it is written if it fits, and its length is the result.
func give(value []byte, buf int) {
	if uint32(len(value)) <= arg[buf+1] {
		copy(slice(buf), value)
	}
	last = uint64(len(value))
}

func giveList(values []string, buf int) {
	var all []byte
	for _, value := range values {
		all = append(append(all, value...), 0)
	}
	give(all, buf)
	last = pack(uint32(len(values)), uint32(last))
}

// The binding's names for the numbers in scripts; other numbers are passed as they are.
var (
	kinds    = [...]uint32{request, response, requestTrailers, responseTrailers}
	levels   = [...]int32{debug, info, warn, fail}
	features = [...]uint32{bufferRequest, bufferResponse, trailers}
)

func kind(number uint32) uint32 {
	if int(number) < len(kinds) {
		return kinds[number]
	}
	return number
}

func level() int32 {
	if i := int32(arg[0]) + 1; i >= 0 && int(i) < len(levels) {
		return levels[i]
	}
	return int32(arg[0])
}

func featureSet(bits uint32) uint32 {
	set := bits &^ 7
	for i, feature := range features {
		if bits>>i&1 != 0 {
			set |= feature
		}
	}
	return set
}

func flag(is bool) (value uint64) {
	if is {
		value = 1
	}
	return value
}

// readAll reads a body to its end, with a copy to another one if to is 0 or 1.
func readAll(from uint32, buf []byte, to uint32) uint64 {
	hash, total := uint32(0x811c9dc5), 0
	add := func(bytes []byte) {
		for _, b := range bytes {
			hash = (hash ^ uint32(b)) * 0x01000193
		}
		total += len(bytes)
	}
	if to > 1 && len(buf) >= 4096 {
		all, ok := body(from, memorySize)
		require(ok)
		add(all)
		return pack(hash, uint32(total))
	}
	for range 200000 {
		n, end := readBody(from, buf)
		if n > len(buf) {
			return pack(0xbad00000, 1)
		}
		if n < len(buf) && !end {
			return pack(0xbad00000, 2)
		}
		add(buf[:n])
		if to < 2 {
			writeBody(kind(to), buf[:n])
		}
		if end {
			return pack(hash, uint32(total))
		}
	}
	return pack(0xbad00000, 4)
}

func deliver(where uint32) {
	encoded := hex.EncodeToString(report)
	switch where {
	case 0:
		setHeader(request, "x-tck-report", encoded)
	case 1:
		setHeader(response, "x-tck-report", encoded)
	default:
		setHeader(response, "x-tck-report-r", encoded)
	}
}

func deeper(depth uint32) uint32 { return deeper(depth+1) + 1 }

func run(script []byte) {
	require(len(script) <= scriptSize)
	pc = scriptAt
	end := pc + uint32(copy(memory[pc:], script))
	for pc < end {
		op := number(1)
		operands(int(counts[op]))
		switch op {
		case 1:
			last = uint64(enableFeatures(featureSet(arg[0])))
		case 2:
			give(config(), 0)
		case 3:
			log(level(), text(1))
		case 4:
			last = flag(logEnabled(level()))
		case 5:
			give([]byte(method()), 0)
		case 6:
			setMethod(text(0))
		case 7:
			give([]byte(uri()), 0)
		case 8:
			setURI(text(0))
		case 9:
			give([]byte(protocolVersion()), 0)
		case 10:
			give([]byte(sourceAddr()), 0)
		case 11:
			giveList(headerNames(kind(arg[0])), 1)
		case 12:
			giveList(headers(kind(arg[0]), text(1)), 3)
		case 13:
			setHeader(kind(arg[0]), text(1), text(3))
		case 14:
			addHeader(kind(arg[0]), text(1), text(3))
		case 15:
			removeHeader(kind(arg[0]), text(1))
		case 16:
			n, eof := readBody(kind(arg[0]), slice(1))
			last = uint64(n) | flag(eof)<<32
		case 17:
			writeBody(kind(arg[0]), slice(1))
		case 18:
			last = uint64(statusCode())
		case 19:
			setStatusCode(arg[0])

		case 64:
			report = binary.LittleEndian.AppendUint64(append(report, 'V'), last)
		case 65:
			report = append(binary.LittleEndian.AppendUint32(append(report, 'M'), arg[1]), slice(0)...)
		case 66:
			low := number(4)
			require(last == pack(number(4), low))
		case 67:
			require(string(memory[arg[0]:][:arg[2]]) == text(1))
		case 68:
			for i := range arg[2] {
				memory[arg[0]+i] = byte(arg[1])
			}
		case 69:
			for i := range arg[1] {
				memory[arg[0]+i] = byte(i*167 + i>>8)
			}
		case 70:
			last = readAll(kind(arg[0]), slice(1), arg[3])
		case 71:
			proceeds, ctx = arg[0], arg[1]
		case 72:
			panic("the script traps")
		case 73:
			deliver(arg[0])
		case 74:
			registers[arg[0]] = last
		case 75:
			last = dirty
		case 76:
			for {
			}
		case 77:
			last = uint64(uint32(last) + arg[0])
		case 78:
			last = flag(last == registers[arg[0]])
		case 80:
			last = uint64(binary.LittleEndian.Uint32(memory[arg[0]:]))
		case 81:
			binary.LittleEndian.PutUint32(memory[arg[0]:], arg[1])
		case 82:
			last = uint64(deeper(uint32(bits.Len64(last))))
		case 83:
			last = uint64(-uint32(last))
		case 84:
			last = capabilities
		default:
			panic("an unknown operation")
		}
	}
}

// The number of each operation's operands; a string is two.
var counts = [256]uint8{
	1: 1, 2: 2, 3: 3, 4: 1, 5: 2, 6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 3, 12: 5, 13: 5, 14: 5, 15: 3, 16: 3, 17: 3, 19: 1,
	65: 2, 67: 3, 68: 3, 69: 2, 70: 4, 71: 2, 73: 1, 74: 1, 77: 1, 78: 1, 80: 1, 81: 2,
}

// receive decodes the script in a request header.
func receive(name string) []byte {
	value, _ := header(request, name)
	script, err := hex.DecodeString(value)
	require(err == nil)
	return script
}

func enter() {
	// A script that didn't end has trapped.
	if running {
		dirty = 1
	}
	running, report, last = true, nil, 0
}

//go:wasmexport handle_request
func handleRequest() uint64 {
	enter()
	requests++
	proceeds, ctx = 1, requests
	after := receive("x-tck-script-r")
	run(receive("x-tck-script"))
	running = false
	if proceeds == 0 {
		return stop()
	}
	require(proceeds == 1)
	late[ctx] = after
	return next(ctx)
}

//go:wasmexport handle_response
func handleResponse(reqCtx, isError uint32) {
	enter()
	script, known := late[reqCtx]
	require(known)
	delete(late, reqCtx)
	if isError == 0 {
		run(script)
	}
	running = false
}
