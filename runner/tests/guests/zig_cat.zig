// Copies standard input to standard output.
const std = @import("std");

pub fn main(init: std.process.Init) !void {
    var buffers: [2][1 << 16]u8 = undefined;
    var in = std.Io.File.stdin().reader(init.io, &buffers[0]);
    var out = std.Io.File.stdout().writer(init.io, &buffers[1]);
    _ = try in.interface.streamRemaining(&out.interface);
    try out.interface.flush();
}
