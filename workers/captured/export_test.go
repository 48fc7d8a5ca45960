package captured

// EachLine is for the fuzz test.
var EachLine = eachLine
