//! Every decision mechanic takes, as pure functions over plain data.
