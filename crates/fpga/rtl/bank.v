// A memory with a port to write and one to read, whose word comes two enabled cycles later.
module bank #(
    parameter DEPTH = 1024,
    parameter WIDTH = 144,
    parameter ADDRESS = $clog2(DEPTH),
    parameter STYLE = "ultra"  // UltraRAM or "block" RAM
) (
    input clk,
    input write,
    input [ADDRESS-1:0] to,
    input [WIDTH-1:0] x,
    input en,
    input [ADDRESS-1:0] from,
    output reg [WIDTH-1:0] y
);
    (* ram_style = STYLE *) reg [WIDTH-1:0] words[0:DEPTH-1];
    reg [WIDTH-1:0] word;
    always @(posedge clk) if (write) words[to] <= x;
    always @(posedge clk)
        if (en) begin
            word <= words[from];
            y <= word;
        end
endmodule
