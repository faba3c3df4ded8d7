// Lists the directory named by its argument (default /) and all below it:
// type, size and path, one entry a line.
const std = @import("std");
const Io = std.Io;

fn list(init: std.process.Init, out: *Io.Writer, folder: []const u8) !void {
    const arena = init.arena.allocator();
    var dir = try Io.Dir.cwd().openDir(init.io, folder, .{ .iterate = true });
    defer dir.close(init.io);
    var entries = dir.iterate();
    while (try entries.next(init.io)) |entry| {
        const prefix = if (std.mem.eql(u8, folder, "/")) "" else folder;
        const path = try std.fmt.allocPrint(arena, "{s}/{s}", .{ prefix, entry.name });
        const stat = try dir.statFile(init.io, entry.name, .{});
        const kind: u8 = switch (stat.kind) {
            .directory => 'd',
            .file => 'f',
            else => 'c',
        };
        try out.print("{c} {d} {s}\n", .{ kind, stat.size, path });
        if (kind == 'd') try list(init, out, path);
    }
}

pub fn main(init: std.process.Init) !void {
    var buffer: [4096]u8 = undefined;
    var out = Io.File.stdout().writer(init.io, &buffer);
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    try list(init, &out.interface, if (args.len > 1) args[1] else "/");
    try out.interface.flush();
}
