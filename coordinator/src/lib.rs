//! Watches all nodes, decides for the whole cluster, and cordons, drains and releases nodes.
