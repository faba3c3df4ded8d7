-- hello, cat and sort, by the name of the task. Lua's own library lists no folders.
local tasks = {}

function tasks.hello()
  print("hello")
end

function tasks.cat()
  for block in io.lines(nil, 65536) do
    io.write(block)
  end
end

function tasks.sort()
  local lines = {}
  for line in io.lines() do
    lines[#lines + 1] = line
  end
  table.sort(lines)
  for _, line in ipairs(lines) do
    print(line)
  end
end

tasks[arg[1]]()
