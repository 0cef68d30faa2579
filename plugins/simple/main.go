// Greets whoever the input names, and quotes two values from the host's memory.
//
// The source is valid for the standard Go compiler and for TinyGo; build.sh has the command of each.
package main

import (
	"errors"
	"strings"

	"github.com/extism/go-pdk"
)

// hostMemoryGet is the host's: it takes the offset of a key in Extism's memory, and returns the offset of that
// key's value, or 0 when there is no such key.
//
//go:wasmimport extism:host/user hostMemoryGet
func hostMemoryGet(key uint64) uint64

// memoryGet reads a value from the host's memory. A missing key is an error rather than an empty value, since a
// greeting with a hole in it would pass for a right answer.
func memoryGet(key string) (string, error) {
	keyMemory := pdk.AllocateString(key)
	defer keyMemory.Free()

	offset := hostMemoryGet(keyMemory.Offset())
	if offset == 0 {
		return "", errors.New("no such key: " + key)
	}
	value := pdk.FindMemory(offset)
	return string(value.ReadBytes()), nil
}

//go:wasmexport say_hello
func sayHello() int32 {
	lines := []string{"👋 Hello " + pdk.InputString()}
	for _, key := range []string{"hello", "message"} {
		value, err := memoryGet(key)
		if err != nil {
			pdk.SetError(err)
			return 1
		}
		lines = append(lines, "key: "+key+", value: "+value)
	}
	pdk.OutputString(strings.Join(lines, "\n"))
	return 0
}

func main() {}
