module simple

go 1.21.0

require github.com/extism/go-pdk v1.1.3
