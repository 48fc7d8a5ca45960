package tasks

// KindJoin is the kind of a step without tasks, which is done as soon as it opens. It stands between many steps and many
// that need all of them, so that a plan's edges grow with the number of its steps and not with its square. Only large
// plans have any.
const KindJoin Kind = "join"
