//! The tables of docs/kubelet-differences.md, made by the simulator: the page must contain them as they are.
