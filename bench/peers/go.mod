// What others have made for an echo, to compare netpoll with. A module of its own, so that the product depends on none of it.
module edged/bench/peers

go 1.26.0

require github.com/cloudwego/netpoll v0.7.2

require (
	github.com/bytedance/gopkg v0.1.1 // indirect
	github.com/cloudwego/gopkg v0.1.4 // indirect
)
