-- Sums the last field of each line; lines without a number there are counted
-- apart. pcall catches what assert raises, as anywhere.
local sum, others = 0, 0
for line in io.lines() do
  local fine, number = pcall(function()
    return assert(tonumber(line:match("([^,]*)$")), "no number")
  end)
  if fine then
    sum = sum + number
  else
    others = others + 1
  end
end
print(("%.2f in total, %d lines without a number"):format(sum, others))
