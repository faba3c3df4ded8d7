// Sorts the lines of standard input by their bytes.
const std = @import("std");

fn before(_: void, one: []const u8, two: []const u8) bool {
    return std.mem.lessThan(u8, one, two);
}

pub fn main(init: std.process.Init) !void {
    const arena = init.arena.allocator();
    var buffers: [2][1 << 16]u8 = undefined;
    var in = std.Io.File.stdin().reader(init.io, &buffers[0]);
    var out = std.Io.File.stdout().writer(init.io, &buffers[1]);
    var lines: std.ArrayList([]const u8) = .empty;
    while (try in.interface.takeDelimiter('\n')) |line|
        try lines.append(arena, try arena.dupe(u8, line));
    std.mem.sort([]const u8, lines.items, {}, before);
    for (lines.items) |line|
        try out.interface.print("{s}\n", .{line});
    try out.interface.flush();
}
