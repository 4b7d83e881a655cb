package queue

// ParseBody is what a Handler makes of a body.
var ParseBody = parseBody

// Following is where a walk through IDs goes on.
var Following = following
